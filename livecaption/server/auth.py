"""Checks of each request: the site of the page (Origin), the name of the server (Host), and the token."""

import base64
import binascii
import hmac
import re
import socket
import threading
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from livecaption.config import is_loopback
from livecaption.errors import ForbiddenOrigin, Unauthorized
from livecaption.live.dialects.native import SUBPROTOCOL
from livecaption.server.config import ServerConfig

MAX_PORT = 65535
_TOKEN_PREFIX = "token."
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z._-]{1,253}))(?::(?P<port>[0-9]{1,5})?)?"
)
"""The header Host as browsers send it (RFC 9110, 7.2), in ASCII and without user names. A name has at most 253
characters (RFC 1035, 2.3.4), an IPv6 address at most 45. A link with a longer name might not fit into a QR code."""


class OwnNames:
    """The names of this machine.

    Attributes:
        known: the names in lower case. The full name is missing until the look-up that `look_up` starts is done.
    """

    def __init__(self) -> None:
        name = socket.gethostname().lower()
        self.known = frozenset({name, f"{name}.local"})

    def look_up(self) -> None:
        """Start to look up the full name, which takes seconds if DNS does not answer."""
        # This is no thread of the loop's executor, because the end of the loop would wait for it.
        threading.Thread(target=self._add_full_name, name="own names", daemon=True).start()

    def _add_full_name(self) -> None:
        self.known |= {socket.getfqdn().lower()}


def check_host(request: web.BaseRequest, config: ServerConfig, own_names: OwnNames) -> None:
    """Check that the request names this server; `allowed_hosts` adds names.

    Otherwise a page of any site could reach the server under the site's name (DNS rebinding), with all rights of its
    visitor. A server bound to loopback accepts loopback names. Beyond loopback, a token keeps such pages out. Without a
    token, the server accepts loopback names, the machine's own names, and addresses, which no site can use as its name.

    Raises:
        ForbiddenOrigin: the Host header has another name or is invalid, or it is missing although names are checked.
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
    """Return the host in lower case: `localhost` of `localhost:8000`, `::1` of `[::1]:8000`; empty if it is invalid."""
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > MAX_PORT:
        return ""
    return (match["name"] or match["address"]).lower()


def check_origin(request: web.BaseRequest, config: ServerConfig) -> None:
    """Refuse pages of other sites, because browsers do not apply CORS to WebSockets.

    Programs other than browsers send no Origin, and are accepted.

    Raises:
        ForbiddenOrigin: the page belongs to another site, or to none (`null` or an invalid origin).
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
    """Check the operator's token, if one is configured.

    It is sent as `Authorization: Bearer`, or as a subprotocol `token.<base64url>`, because browsers cannot set headers
    of a WebSocket.

    Raises:
        Unauthorized: the token is missing or wrong.
    """
    if config.token and not shows_operator_token(request, config):
        raise Unauthorized("a token is needed: Authorization: Bearer, or the subprotocol token.<base64url>")


def check_operator(request: web.BaseRequest, config: ServerConfig) -> None:
    """Check that the request has the operator's token. A server without a configured token refuses every request.

    Raises:
        Unauthorized: the request does not have the operator's token.
    """
    if not shows_operator_token(request, config):
        raise Unauthorized(
            "this session is private: the operator's token is needed, and must be set (LIVECAPTION_TOKEN)"
        )


def shows_operator_token(request: web.BaseRequest, config: ServerConfig) -> bool:
    """Return True if a token is configured and the request has it."""
    if not config.token:
        return False
    expected = config.token.encode()
    # Every candidate is compared in constant time, so that the response time reveals nothing.
    matches = [hmac.compare_digest(shown, expected) for shown in _shown_tokens(request)]
    return any(matches)


def shown_reader_token(request: web.BaseRequest) -> str:
    """Return the token that a reader sent for a private session, or an empty string.

    It is sent like the operator's token, or as `?reader_token=`, because an EventSource cannot set headers.
    """
    shown = _shown_tokens(request)
    return shown[0].decode("utf-8", "surrogateescape") if shown else request.query.get("reader_token", "")


def shows_a_token(request: web.BaseRequest) -> bool:
    """Return True if the request has a token, right or wrong."""
    return bool(_shown_tokens(request)) or "reader_token" in request.query


def offered_protocols(request: web.BaseRequest) -> list[str]:
    """Return the WebSocket subprotocols that the client offers."""
    header = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
    return [item.strip() for item in header.split(",") if item.strip()]


def accepted_protocols(request: web.BaseRequest) -> tuple[str, ...]:
    """Return the subprotocols to accept: livecaption's if it was offered, and never the one with the token."""
    return (SUBPROTOCOL,) if SUBPROTOCOL in offered_protocols(request) else ()


def _shown_tokens(request: web.BaseRequest) -> list[bytes]:
    tokens = []
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer":
        tokens.append(credentials.strip().encode("utf-8", "surrogateescape"))
    for item in offered_protocols(request):
        if item.startswith(_TOKEN_PREFIX):
            encoded = item.removeprefix(_TOKEN_PREFIX)
            try:
                tokens.append(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
            except (binascii.Error, ValueError):
                continue
    return tokens


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
