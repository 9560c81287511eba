"""Who may connect: the site a page comes from, the name it called us by, the token it shows."""

import hmac
import re
import socket
import threading
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from livecaption.config import is_loopback
from livecaption.errors import ForbiddenOrigin, Unauthorized
from livecaption.live.dialects import native
from livecaption.live.dialects.dialect import Handshake
from livecaption.server.config import ServerConfig

MAX_PORT = 65535
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z._-]{1,253}))(?::(?P<port>[0-9]{1,5})?)?"
)
"""The header Host as browsers send it (RFC 9110, 7.2): without user names, and of ASCII. A name has 253 characters at
most (RFC 1035, 2.3.4), an IPv6 address 45. A link with a name of thousands would not fit into a QR code."""


class OwnNames:
    """The names of this machine.

    Attributes:
        known: in lower case; the full name is missing until `ask` has its answer.
    """

    def __init__(self) -> None:
        name = socket.gethostname().lower()
        self.known = frozenset({name, f"{name}.local"})

    def ask(self) -> None:
        """Begin to ask the network for the full name, which takes seconds where DNS is dead."""
        # No thread of the loop's executor: the loop's end would wait for those.
        threading.Thread(target=self._learn, name="own names", daemon=True).start()

    def _learn(self) -> None:
        self.known |= {socket.getfqdn().lower()}


def check_host(request: web.BaseRequest, config: ServerConfig, own_names: OwnNames) -> None:
    """A server answers to its own names alone, unless it is told others.

    Otherwise a page of any site could reach it under the site's name (DNS rebinding), with all the rights of those
    who reach the server. Bound to loopback, the server has loopback names. Beyond it, a token keeps such pages out;
    without one it has loopback names, the machine's own, and addresses, which no site can take as its name.

    Raises:
        ForbiddenOrigin: the Host header names somebody else, or no host; or it is missing where names count.
    """
    header = request.headers.get(hdrs.HOST, "")
    name = host_name(header)
    if header and not name:
        raise ForbiddenOrigin("the Host header names no host", code="forbidden_host")
    beyond_loopback = not is_loopback(config.host)
    if is_loopback(name) or name in map(str.lower, config.allowed_hosts) or (beyond_loopback and config.token):
        return
    if not (beyond_loopback and (_is_address(name) or name in own_names.known)):
        raise ForbiddenOrigin("this server does not answer to that name (--allowed-host NAME)", code="forbidden_host")


def host_name(host: str) -> str:
    """`localhost` of `localhost:8000`, `::1` of `[::1]:8000`, in lower case; empty: it is no host and port."""
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > MAX_PORT:
        return ""
    return (match["name"] or match["address"]).lower()


def check_origin(request: web.BaseRequest, config: ServerConfig) -> None:
    """Pages of other sites may not stream: a browser would let them (WebSockets know no CORS).

    Programs that are no browsers send no Origin and pass.

    Raises:
        ForbiddenOrigin: another site's page, or a page without a site (`null`, or what is no origin).
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin in config.allowed_origins:
        return
    try:
        site = urlsplit(origin).netloc
    except ValueError:
        site = ""
    if not site or site != request.headers.get(hdrs.HOST):
        raise ForbiddenOrigin("pages of this origin may not stream here (--allowed-origin)")


def check_token(request: web.BaseRequest, config: ServerConfig) -> None:
    """The token of the operator, if there is one: as `Authorization: Bearer`, or, for browsers
    (which cannot set it on a WebSocket), as a subprotocol `token.<base64url>`.

    Raises:
        Unauthorized: none or another.
    """
    check_keys(native.shown_keys(handshake(request)), config)


def check_keys(keys: list[bytes], config: ServerConfig) -> None:
    """Check that one of these keys is the token of the operator, if there is one.

    Raises:
        Unauthorized: none is.
    """
    if config.token and not _has_operator_token(keys, config):
        raise Unauthorized("a token is needed: Authorization: Bearer, or the subprotocol token.<base64url>")


def check_operator(request: web.BaseRequest, config: ServerConfig) -> None:
    """What is for the operator alone, also on a server without a token, where nobody can show that they are.

    Raises:
        Unauthorized: it is not the operator.
    """
    if not shows_operator_token(request, config):
        raise Unauthorized(
            "this session is private: the operator's token is needed, and must be set (LIVECAPTION_TOKEN)"
        )


def shows_operator_token(request: web.BaseRequest, config: ServerConfig) -> bool:
    """Whether the operator asks: a token is configured and the request shows it."""
    return _has_operator_token(native.shown_keys(handshake(request)), config)


def shown_reader_token(request: web.BaseRequest) -> str:
    """What a reader of a private session shows: like the operator's token, or `?reader_token=`, for an EventSource,
    which can set no header; empty: nothing."""
    shown = native.shown_keys(handshake(request))
    return shown[0].decode("utf-8", "surrogateescape") if shown else request.query.get("reader_token", "")


def shows_a_token(request: web.BaseRequest) -> bool:
    """Whether a token comes with the request, right or wrong."""
    return bool(native.shown_keys(handshake(request))) or "reader_token" in request.query


def handshake(request: web.BaseRequest) -> Handshake:
    """Give what a dialect needs to know of the request."""
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    subprotocols = tuple(item.strip() for item in offered if item.strip())
    return Handshake(request.query, request.headers.get(hdrs.AUTHORIZATION, ""), subprotocols)


def accepted_protocols(request: web.BaseRequest) -> tuple[str, ...]:
    """What to answer a reader: ours if it was offered, never the item that carries the token."""
    return (native.SUBPROTOCOL,) if native.SUBPROTOCOL in handshake(request).subprotocols else ()


def _has_operator_token(keys: list[bytes], config: ServerConfig) -> bool:
    if not config.token:
        return False
    expected = config.token.encode()
    # Every candidate is compared, and in constant time: the answer's time tells nothing.
    matches = [hmac.compare_digest(key, expected) for key in keys]
    return any(matches)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
