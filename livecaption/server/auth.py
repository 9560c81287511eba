"""Checks of each request: the site of the page (Origin), the name of the server (Host), and the token."""

import hmac
import re
import socket
import threading
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address

from aiohttp import hdrs, web

from livecaption.config import is_loopback
from livecaption.errors import ForbiddenOrigin, LocalOnly, Unauthorized
from livecaption.live.dialects import native
from livecaption.live.dialects.dialect import Handshake
from livecaption.server.config import MAX_PORT, ServerConfig

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z._-]{1,253}))(?::(?P<port>[0-9]{1,5})?)?"
)
"""The header Host as browsers send it (RFC 9110, 7.2), in ASCII and without user names. A name has at most 253
characters (RFC 1035, 2.3.4), an IPv6 address at most 45. A link with a longer name might not fit into a QR code."""
DEFAULT_PORTS = {"http": 80, "https": 443}
FORWARDING_HEADERS = ("Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")
"""Headers of which a reverse proxy sets at least one. Browsers set none."""

Origin = tuple[str, str, int]
"""Scheme, host and port (RFC 6454, 4)."""


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
    """Check that the request names this server; `allowed_hosts` and `public_url` add names.

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
    if (public := origin_of(config.public_url)) is not None and name == public[1]:
        return
    if not (beyond_loopback and (_is_address(name) or name in own_names.known)):
        raise ForbiddenOrigin("this server does not answer to that name (--allowed-host NAME)", code="forbidden_host")


def host_name(host: str) -> str:
    """Return the host in lower case: `localhost` of `localhost:8000`, `::1` of `[::1]:8000`; empty if it is invalid."""
    match = _match_host(host)
    return "" if match is None else _name_in(match)


def _match_host(host: str) -> re.Match[str] | None:
    match = _HOST.fullmatch(host)
    return None if match is None or int(match["port"] or 0) > MAX_PORT else match


def _name_in(match: re.Match[str]) -> str:
    return str(match["name"] or match["address"]).lower()


def check_origin(request: web.BaseRequest, config: ServerConfig) -> None:
    """Refuse pages of other sites, because browsers do not apply CORS to WebSockets.

    Programs other than browsers send no Origin, and are accepted. `allowed_origins` and `public_url` add sites.

    Raises:
        ForbiddenOrigin: the page belongs to another site, or to none (`null` or an invalid origin).
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin in config.allowed_origins:
        return
    site = origin_of(origin)
    if site is not None:
        # The scheme of the page counts for both, because a proxy may have ended TLS.
        own = origin_of(f"{site[0]}://{request.headers.get(hdrs.HOST, '')}")
        if site in {own, *map(origin_of, (*config.allowed_origins, config.public_url))}:
            return
    raise ForbiddenOrigin("pages of this origin may not stream here (--allowed-origin)")


def origin_of(url: str) -> Origin | None:
    """Return the origin of a URL in lower case and with its port; None: it has none, such as `null`."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not separator or (match := _match_host(host)) is None:
        return None
    scheme = scheme.lower()
    return scheme, _name_in(match), int(match["port"] or DEFAULT_PORTS.get(scheme, 0))


def check_operations(request: web.BaseRequest, config: ServerConfig) -> None:
    """Check that the client may list, search and delete transcripts.

    It needs the operator's token. On a server without one, it must run on the server's machine, because everybody else
    could otherwise read and delete what people said.

    Raises:
        Unauthorized: the token is missing or wrong.
        LocalOnly: there is no token, and the client may be on another machine.
    """
    check_token(request, config)
    if not config.token and not runs_here(request):
        raise LocalOnly(
            "without a token (LIVECAPTION_TOKEN), transcripts are listed, searched and deleted on the server's machine "
            "only, at its address localhost"
        )


def may_see_addresses(request: web.BaseRequest, config: ServerConfig) -> bool:
    """Return True if the client may see this machine's addresses: it runs here, or has the operator's token."""
    return runs_here(request) or shows_operator_token(request, config)


def runs_here(request: web.BaseRequest) -> bool:
    """Return True if the client certainly runs on this machine, or uses a tunnel of its own to it."""
    peer = request.transport and request.transport.get_extra_info("peername")
    return is_from_here(peer[0] if isinstance(peer, tuple) else "", request.headers)


def is_from_here(peer: str, headers: Mapping[str, str]) -> bool:
    """Return True if the request comes from this machine, and no reverse proxy on it has passed it on.

    A proxy sets a header of its own, or keeps the public name of the server in the header Host. One that does neither
    cannot be recognised: `docs/operating.md` forbids it.

    Args:
        peer: the address of the client's socket; empty if it has none, as with a Unix socket.
        headers: the headers of the request, with names that ignore case.
    """
    if any(name in headers for name in FORWARDING_HEADERS) or not is_loopback(host_name(headers.get(hdrs.HOST, ""))):
        return False
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def check_token(request: web.BaseRequest, config: ServerConfig) -> None:
    """Check the operator's token, if one is configured.

    It is sent as `Authorization: Bearer`, or as a subprotocol `token.<base64url>`, because browsers cannot set headers
    of a WebSocket.

    Raises:
        Unauthorized: the token is missing or wrong.
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
    return _has_operator_token(native.shown_keys(handshake(request)), config)


def shown_reader_token(request: web.BaseRequest) -> str:
    """Return the token that a reader sent for a private session, or an empty string.

    It is sent like the operator's token, or as `?reader_token=`, because an EventSource cannot set headers.
    """
    shown = native.shown_keys(handshake(request))
    return shown[0].decode("utf-8", "surrogateescape") if shown else request.query.get("reader_token", "")


def shows_a_token(request: web.BaseRequest) -> bool:
    """Return True if the request has a token, right or wrong."""
    return bool(native.shown_keys(handshake(request))) or "reader_token" in request.query


def handshake(request: web.BaseRequest) -> Handshake:
    """Return the parts of the request that dialects read."""
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    subprotocols = tuple(item.strip() for item in offered if item.strip())
    return Handshake(request.query, request.headers.get(hdrs.AUTHORIZATION, ""), subprotocols)


def accepted_protocols(request: web.BaseRequest) -> tuple[str, ...]:
    """Return the subprotocols to accept: livecaption's if it was offered, and never the one with the token."""
    return (native.SUBPROTOCOL,) if native.SUBPROTOCOL in handshake(request).subprotocols else ()


def _has_operator_token(keys: list[bytes], config: ServerConfig) -> bool:
    if not config.token:
        return False
    expected = config.token.encode()
    # Every candidate is compared in constant time, so that the response time reveals nothing.
    matches = [hmac.compare_digest(key, expected) for key in keys]
    return any(matches)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
