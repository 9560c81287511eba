"""Checks of each request: the site of the page (Origin), the name of the server (Host), and the token."""

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from aiohttp import hdrs, web

from livecaption.config import is_loopback, is_on_this_machine
from livecaption.errors import ForbiddenOrigin, ForbiddenRole, LimitReached, LocalOnly, Unauthorized
from livecaption.ipc import logs
from livecaption.keys import Key, Role
from livecaption.live.dialects import native
from livecaption.live.dialects.dialect import Handshake
from livecaption.live.dialects.keys import shown_keys
from livecaption.server import forwarded
from livecaption.server.access import Access
from livecaption.server.config import ServerConfig
from livecaption.server.forwarded import Client
from livecaption.server.keys import KEYS
from livecaption.server.origins import Origin, host_name, normal_origin, origin_of
from livecaption.server.services import SERVICES

ACCESS: web.AppKey[dict[web.AbstractRoute, Access]] = web.AppKey("access", dict)
"""The needs of each route of the application."""


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


def peer_of(request: web.BaseRequest) -> str:
    """Return the address at the other end of the socket; `UNIX_PEER` if that is a Unix socket; empty: unknown."""
    peer = request.transport and request.transport.get_extra_info("peername")  # a text if it is a Unix socket
    return peer[0] if isinstance(peer, tuple) else "" if peer is None else forwarded.UNIX_PEER


def client_of(request: web.BaseRequest, config: ServerConfig) -> Client:
    """Return the client of a request, which trusted proxies may have passed on."""
    headers = {name: ",".join(request.headers.getall(name, [])) for name in forwarded.HEADERS}
    return forwarded.client_of(
        peer_of(request), request.scheme, headers | {"Host": request.headers.get(hdrs.HOST, "")}, config.trusted_proxies
    )


def check_host(request: web.BaseRequest, config: ServerConfig, own_names: OwnNames) -> None:
    """Check that the request names this server; `allowed_hosts` and `public_url` add names.

    Otherwise a page of any site could reach the server under the site's name (DNS rebinding), with all rights of its
    visitor. A server bound to loopback accepts loopback names. Beyond loopback, a token keeps such pages out. Without a
    token, the server accepts loopback names, the machine's own names, and addresses, which no site can use as its name.

    Raises:
        ForbiddenOrigin: the Host header has another name or is invalid, or it is missing although names are checked.
    """
    header = client_of(request, config).host
    name = host_name(header)
    if header and not name:
        raise ForbiddenOrigin("the Host header names no host", code="forbidden_host")
    beyond_loopback = not is_on_this_machine(config.host)
    if is_loopback(name) or name in config.allowed_hosts or (beyond_loopback and config.needs_key):
        return
    if (public := _public(config)) is not None and name == public[1]:
        return
    if not (beyond_loopback and (_is_address(name) or name in own_names.known)):
        raise ForbiddenOrigin(
            "this server does not answer to that name (--public-url ADDRESS, or --allowed-host NAME)",
            code="forbidden_host",
        )


def check_origin(request: web.BaseRequest, config: ServerConfig) -> None:
    """Refuse pages of other sites, because browsers do not apply CORS to WebSockets.

    Programs other than browsers send no Origin, and are accepted. `allowed_origins` and `public_url` add sites.
    Browsers send none either when a page requests its own server by GET. So pages send their own address as `?page=` to
    ask whether a WebSocket, which has an Origin, would be accepted.

    Raises:
        ForbiddenOrigin: the page belongs to another site, or to none (`null` or an invalid origin).
    """
    for page in (request.headers.get(hdrs.ORIGIN), request.query.get("page")):
        if page is None or _is_allowed(page, config):
            continue
        if (site := origin_of(page)) is None or site not in {_own_origin(request, config, site), _public(config)}:
            raise ForbiddenOrigin(
                "this server does not accept pages of that origin (--public-url with the address of its own page, or "
                "--allowed-origin for a page of another site)"
            )


def is_of_allowed_origin(request: web.BaseRequest, config: ServerConfig) -> bool:
    """Return True if a page of one of the `allowed_origins` sent the request."""
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and _is_allowed(origin, config)


def _is_allowed(page: str, config: ServerConfig) -> bool:
    return normal_origin(page) in config.allowed_origins


def _own_origin(request: web.BaseRequest, config: ServerConfig, page: Origin) -> Origin | None:
    """Return the origin of the server's own page.

    Its scheme is https if the client has used that. Otherwise the scheme of `page` counts, because a proxy that is not
    trusted may have ended TLS.
    """
    client = client_of(request, config)
    return origin_of(f"{client.scheme if client.scheme == 'https' else page[0]}://{client.host}")


def _public(config: ServerConfig) -> Origin | None:
    return origin_of(config.public_url)


def check_access(request: web.Request, shown: Sequence[bytes] | None = None) -> Key | None:
    """Check that the client may use the requested route: see `access.ACCESS`.

    Without keys, what is local is for clients on the server's machine (`runs_here`), because everybody else could
    otherwise read and delete what people said.

    Args:
        shown: everything in the request that may be a token; None: what our own protocol finds.

    Returns:
        The key of the client; None: the server has none.

    Raises:
        Unauthorized: the token is missing, wrong or expired.
        ForbiddenRole: the key does not allow this.
        LimitReached: `too_many_attempts`.
        LocalOnly: there is no token, and the client may be on another machine.
    """
    config, keys = request.app[SERVICES].config.server, request.app[KEYS]
    access = request.app[ACCESS][request.match_info.route]
    assert access.role is not None  # the other routes are open
    if keys.needed:
        return keys.check(_shown(request) if shown is None else shown, access.role, client_of(request, config).address)
    if access.is_local and not runs_here(request, config):
        raise LocalOnly(
            "without a token (LIVECAPTION_TOKEN), transcripts are listed, searched and deleted on the server's machine "
            "only, at its address localhost, and only without a proxy in front (--public-url, --trusted-proxy)"
        )
    return None


def check_private(request: web.Request) -> None:
    """Check that the client may read a private session that is over. A server without keys refuses every request.

    Raises:
        Unauthorized, ForbiddenRole, LimitReached: it may not.
    """
    keys = request.app[KEYS]
    if not keys.needed:
        raise Unauthorized(
            "this session is private: the operator's token is needed, and must be set (LIVECAPTION_TOKEN)"
        )
    keys.check(_shown(request), Role.READ, client_of(request, request.app[SERVICES].config.server).address)


def check_reader(request: web.Request, check: Callable[[str], None]) -> Key | None:
    """Check that the client may read what is perhaps private: by its reader token, or by a key with the role `read`.

    Args:
        check: checks the reader token, and raises Unauthorized if that is wrong.

    Returns:
        The key that lets the client in; None: it needs none.

    Raises:
        Unauthorized: `wrong_token`.
        ForbiddenRole: the token is a key that does not allow this.
        LimitReached: `too_many_attempts`.
    """
    try:
        check(shown_reader_token(request))
    except Unauthorized:
        keys = request.app[KEYS]
        key = keys.recognize(_shown(request), client_of(request, request.app[SERVICES].config.server).address)
        if key is None or key.is_expired(datetime.now(UTC)):
            raise
        if not key.allows(Role.READ):
            raise ForbiddenRole(f"the key {key.name!r} does not allow to read what is private") from None
        return key
    return None


def key_of(request: web.Request) -> Key | None:
    """Return the valid key that the request shows, or None. For the log: it does not count wrong ones."""
    return request.app[KEYS].find(_shown(request))


def may_see_addresses(request: web.Request, config: ServerConfig) -> bool:
    """Return True if the client may see this machine's addresses: it runs here, or has a key."""
    if runs_here(request, config):
        return True
    try:
        key = request.app[KEYS].recognize(_shown(request), client_of(request, config).address)
    except LimitReached:
        return False
    return key is not None and not key.is_expired(datetime.now(UTC))


def runs_here(request: web.BaseRequest, config: ServerConfig) -> bool:
    """Return True if the client certainly runs on this machine, or uses a tunnel of its own to it.

    A page of another origin does not, also if it is allowed: its browser may run here, but its author does not.
    Browsers send no Origin with a GET whose answer the page cannot read. But the page may measure its time. If the
    server has a public address beyond loopback, no client does, because a proxy on this machine may set no header and
    send a loopback name as Host. For the same reason, nobody behind a trusted proxy does.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and ((site := origin_of(origin)) is None or site != _own_origin(request, config, site)):
        return False
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return False
    if (public := _public(config)) is not None and not is_loopback(public[1]):
        return False
    peer = peer_of(request)
    return not forwarded.is_trusted(peer, config.trusted_proxies) and is_from_here(peer, request.headers)


def is_from_here(peer: str, headers: Mapping[str, str]) -> bool:
    """Return True if the request comes from this machine, and shows no reverse proxy on it.

    A proxy that sets no header of its own cannot be recognised if Host is a loopback name. Many send that name, and
    others send what the client has chosen. So `docs/operating.md` demands a header.

    Args:
        peer: the address at the other end of the socket; `UNIX_PEER` if that is a Unix socket; empty: unknown.
        headers: the headers of the request, with names that ignore case.
    """
    if forwarded.shows_a_proxy(headers) or not is_loopback(host_name(headers.get(hdrs.HOST, ""))):
        return False
    return (address := forwarded.address_of(peer)) is not None and address.is_loopback


def shown_reader_token(request: web.BaseRequest) -> str:
    """Return the token that a reader sent for a private session, or an empty string.

    It is sent like the operator's token, or as `?reader_token=`, because an EventSource cannot set headers.
    """
    shown = _shown(request)
    return shown[0].decode("utf-8", "surrogateescape") if shown else request.query.get("reader_token", "")


def shows_a_token(request: web.BaseRequest) -> bool:
    """Return True if the request has a token, right or wrong."""
    return bool(_shown(request)) or "reader_token" in request.query


def handshake(request: web.BaseRequest) -> Handshake:
    """Return the parts of the request that dialects read."""
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    subprotocols = tuple(item.strip() for item in offered if item.strip())
    authorization = request.headers.get(hdrs.AUTHORIZATION, "")
    parameters = tuple(request.query.items())
    return Handshake(
        request.query, authorization, subprotocols, request.headers, parameters, logs.request_id(), datetime.now(UTC)
    )


def accepted_protocols(request: web.BaseRequest) -> tuple[str, ...]:
    """Return the subprotocols to accept: livecaption's if it was offered, and never the one with the token."""
    return (native.SUBPROTOCOL,) if native.SUBPROTOCOL in handshake(request).subprotocols else ()


def _shown(request: web.BaseRequest) -> list[bytes]:
    """Return everything in the request that may be a token."""
    return shown_keys(handshake(request))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
