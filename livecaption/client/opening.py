"""Open connections to a server: addresses, refusals, waiting for a server, and trying again after a lost connection."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp

from livecaption.events import ErrorReport

STREAM_PATH = "/v1/stream"

HEARTBEAT_S = 10.0
"""Interval of the keep-alive. If no answer arrives for half of it, the connection counts as lost, as after a laptop's
sleep. A shorter interval would end connections that are only slow for a moment."""

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Size of the longest event: the snapshot of a session of some days. A minute of speech is 2 KB of it."""

RETRY_S = 0.1
MAX_RETRY_S = 2.0

PROXY_STATUSES = (429, 502, 503, 504)
"""Statuses with which a proxy answers while the server behind it restarts, and when too many clients come back."""

PROXY_RETRY_S = 2.0
"""Time after which to try again, if the proxy names none in seconds. A server without a model starts within it."""

MAX_ABSENCE_S = 600.0
"""Time for which a client tries to go on, as the pages do. It is not `resume_window_ms`: the server counts that from
when it notices the loss, or has loaded its model again."""

ABNORMAL_CLOSE_CODES = (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE, aiohttp.WSCloseCode.SERVICE_RESTART)
"""Close codes after which the client reconnects, because nothing has ended: no Close was received, or a proxy or the
server restarts."""

Socket = aiohttp.ClientWebSocketResponse[Any]
Opener = Callable[[Mapping[str, str]], Awaitable[Socket]]
"""Opens a connection, with these parameters in its address."""

Opened = TypeVar("Opened")


class StreamError(ConnectionError):
    """The base class of all errors of a stream and of its readers.

    Attributes:
        retry_after_s: seconds after which another attempt may succeed; None: none will.
    """

    retry_after_s: float | None = None


class StreamRefused(StreamError):
    """The server did not accept the stream or the reader, or the address is not a livecaption server's.

    A proxy that does not reach the server refuses too, with `retry_after_s`, as the server may only restart.

    Attributes:
        http_status: status of the response: 401, 403, 404, 502, 503 ...
        code: error code, such as `unauthorized`; empty if the response was not livecaption's.
        message: description for people.
    """

    def __init__(self, http_status: int, code: str, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class StreamClosed(StreamError):
    """The stream ended without an `End`: nothing can be sent or received any more.

    Attributes:
        code: WebSocket close code; 1006: the connection was lost; 1002: the server violated the protocol.
        reason: description for people.
        error: error that the server sent as the reason, if it did.
    """

    def __init__(self, code: int, reason: str, error: ErrorReport | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.error = error
        self.retry_after_s = error.retry_after_s if error else None


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is lost, and the client connects again. The server never sends this."""

    type: ClassVar[str] = "reconnecting"


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The client is connected again. What was missed follows. The server never sends this."""

    type: ClassVar[str] = "reconnected"


def stream_url(url: str) -> str:
    """Return the URL of the stream endpoint of a server.

    Raises:
        ValueError: the URL is not http, https, ws or wss.
    """
    return _url(url, STREAM_PATH)


def watch_url(url: str, name: str) -> str:
    """Return the URL at which a room, or a session by its id, is read.

    Raises:
        ValueError: the URL is not http, https, ws or wss.
    """
    return _url(url, f"/v1/rooms/{quote(name, safe='')}/watch")


def _url(url: str, path: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https", "ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:  # its message may have the password
        is_address = False
    if not is_address:
        raise ValueError(f"{_shown(url)!r} is not a server's address, such as http://localhost:8000")
    base = parts.path.rstrip("/").removesuffix(STREAM_PATH)
    return urlunsplit((parts.scheme, parts.netloc, base + path, parts.query, ""))


def _shown(url: str) -> str:
    """Return an address, also a wrong one, without the user, the password and the parameters, which may be secret."""
    return re.sub(r"^(\w+://)?.*@", r"\1", url, flags=re.DOTALL).partition("?")[0]


def reason(error: Exception) -> str:
    """Describe an error of aiohttp without the address, which may have secrets."""
    has_address = isinstance(error, aiohttp.InvalidURL | aiohttp.ClientResponseError)
    return ("" if has_address else str(error)) or type(error).__name__


@asynccontextmanager
async def opener(url: str, token: str | None, ssl: SSLContext | None) -> AsyncIterator[Opener]:
    """Yield a function that opens a WebSocket at the URL.

    It raises:
        ConnectionError: the server cannot be reached, or TLS failed.
        StreamRefused: the server refused.
    """
    # Programs read it from a file, with the end of its line.
    headers = {"Authorization": f"Bearer {token.strip()}"} if token else {}
    body = b""

    async def keep_refusal(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal body
        response = await send(request)
        if response.status >= 400:
            # Keep the body, because `ws_connect` discards it.
            body = await response.read()
        return response

    async def open_socket(params: Mapping[str, str]) -> Socket:
        try:
            return await http.ws_connect(
                url,
                headers=headers,
                params=params,
                heartbeat=HEARTBEAT_S,
                max_msg_size=MAX_EVENT_BYTES,
                ssl=ssl or True,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(url, error.status, error.headers or {}, body) from None
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            raise ConnectionError(
                f"the certificate of {_shown(url)} is not trusted: {why} (the argument ssl, or --ca of the commands)"
            ) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"cannot reach {_shown(url)}: {reason(error)}") from None

    async with aiohttp.ClientSession(middlewares=[keep_refusal]) as http:
        yield open_socket


async def wait_until_accepted(
    attempt: Callable[[], Awaitable[Opened]], wait_s: float, waiting: Callable[[StreamError], None] | None
) -> Opened:
    """Make an attempt to open something, and others at the times that the server names, for at most `wait_s`.

    `waiting` is called with each refusal before that. A server that has asked for patience may restart meanwhile.

    Raises:
        StreamError: the last refusal. It has no `retry_after_s`, or that is after `wait_s`.
        ConnectionError: the server could not be reached at first, or at the end of `wait_s`.
    """
    clock = asyncio.get_running_loop().time
    give_up_s = clock() + wait_s
    has_answered = False
    while True:
        try:
            return await attempt()
        except StreamError as refusal:
            if refusal.retry_after_s is None:
                raise
            has_answered = True
            pause_s = max(refusal.retry_after_s, RETRY_S)
            if clock() + pause_s > give_up_s:
                raise
            if waiting is not None:
                waiting(refusal)
        except ConnectionError:
            pause_s = MAX_RETRY_S
            if not has_answered or clock() + pause_s > give_up_s:
                raise
        await asyncio.sleep(pause_s)


async def reconnect(attempt: Callable[[], Awaitable[Opened]]) -> Opened:
    """Attempt to open something after a lost connection, until it succeeds, for `MAX_ABSENCE_S`.

    Raises:
        StreamError: the server refuses for good.
        ConnectionError: the time is over.
    """
    clock = asyncio.get_running_loop().time
    give_up_s = clock() + MAX_ABSENCE_S
    wait_s = RETRY_S
    while True:
        try:
            return await attempt()
        except StreamError as refusal:
            if refusal.retry_after_s is None:
                raise
        except ConnectionError:
            pass
        if clock() >= give_up_s:
            raise ConnectionError("the connection was lost")
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, MAX_RETRY_S)


def _refusal(url: str, status: int, headers: Mapping[str, str], body: bytes) -> StreamRefused:
    """Return the error for an HTTP response that came instead of the upgrade."""
    try:
        fields = json.loads(body)
        return StreamRefused(status, fields["code"], fields["message"], fields.get("retry_after_s"))
    except (ValueError, TypeError, KeyError):
        if status in PROXY_STATUSES:
            seconds = headers.get("Retry-After", "")
            retry_after_s = float(seconds) if seconds.isdecimal() else PROXY_RETRY_S
            return StreamRefused(status, "", f"cannot reach {_shown(url)}: a proxy answered {status}", retry_after_s)
        return StreamRefused(status, "", f"{_shown(url)} is not a livecaption server: it answered {status}", None)
