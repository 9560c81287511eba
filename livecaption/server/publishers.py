"""The WebSockets of publishers."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from aiohttp import hdrs, web

from livecaption.errors import LivecaptionError, UpgradeRequired
from livecaption.live.connection import Connection
from livecaption.live.dialects.commands import Open
from livecaption.live.dialects.dialect import Dialect, Route
from livecaption.live.websocket import WebSocket
from livecaption.server import auth, http
from livecaption.server.elsewhere import given_to_one_with_room, given_to_owner, gone
from livecaption.server.keys import KEYS
from livecaption.server.protocols import AT_OWN_PORT
from livecaption.server.services import OWN_PORTS, SERVICES, Services

READ_MARGIN_BYTES = 64 * 1024
"""aiohttp resets the connection at a larger message, and the close code mostly does not arrive. Messages slightly above
the dialect's own limit are therefore read, and refused with an error that arrives."""


async def root(request: web.Request, routes: Sequence[Route]) -> web.StreamResponse:
    """`GET /`: the publisher's page, or the WebSocket of a client that has no other address."""
    route = AT_OWN_PORT.get(_own_port(request)) or next((route for route in routes if route.path == "/"), None)
    if route is None or request.method != hdrs.METH_GET or not _is_websocket(request):
        return await http.page(request)
    return await stream(request, route)


def _own_port(request: web.Request) -> str:
    """Return the protocol of the port that the client has connected to; empty: it is not the port of one."""
    name = request.transport and request.transport.get_extra_info("sockname")
    return request.app[OWN_PORTS].get(name[1], "") if isinstance(name, tuple) else ""


def _is_websocket(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


async def stream(request: web.Request, route: Route) -> web.StreamResponse:
    """`GET` of a route, such as `/v1/stream`: a publisher's WebSocket. A refusal is a response before the upgrade."""
    services = request.app[SERVICES]
    handshake = auth.handshake(request)
    try:
        auth.check_origin(request, services.config.server)
        key = auth.check_access(request, route.shown_keys(handshake))
        dialect = route.accept(handshake, services.config.endpointing)
        if await given_to_owner(request, dialect.claimed or dialect.claimed_room):
            return gone()
        account = await request.app[KEYS].account_of(key)
        services.cut_off.check_publisher(dialect.claimed)
        claimed = _claimed_session(services, dialect)
        if claimed is not None:
            services.sessions.check_loaded()
        else:
            if account is not None:
                account.check(datetime.now(UTC))
            await services.sessions.find_room()
            if route.admits_late:
                services.lobby.check()
            else:
                services.sessions.check_admission()
            for command in dialect.connected():
                if isinstance(command, Open):  # the address has its options
                    services.sessions.check_open(command, n_held=0)
    except LivecaptionError as error:
        if await given_to_one_with_room(request, error):
            return gone()
        services.sessions.refused[error.code] += 1
        http.log_refusal(request, error)
        return http.answer(route.refusal(error, handshake.id))
    if not _is_websocket(request):
        return http.answer(route.refusal(UpgradeRequired("a stream is a WebSocket"), handshake.id))
    with ExitStack() as slot:
        if claimed is None:
            waits = services.lobby.waiting() if route.admits_late else services.sessions.admitted()
            slot.enter_context(waits)
        limits = dialect.limits
        max_read_bytes = max(limits.max_text_bytes, limits.max_binary_bytes) + READ_MARGIN_BYTES
        offered = [name for name in route.subprotocols if name in handshake.subprotocols]
        headers = route.headers(handshake)
        socket = WebSocket(request, max_read_bytes, services.config.live.socket, offered, headers)
        await socket.open()
        await Connection(
            socket,
            dialect,
            services.sessions,
            services.rooms,
            services.takeover,
            slot,
            claimed,
            account,
            may_idle=route.may_idle,
            admits_late=route.admits_late,
        ).run()
        return socket.response


def _claimed_session(services: Services, dialect: Dialect) -> str | None:
    """Return the session that the client is about to resume, or that speaks in its room. None: there is none.

    It has a slot, even on a full server: the client gets it by resuming or by taking over.
    """
    session = services.sessions.known(dialect.claimed) or services.rooms.speaker_in(dialect.claimed_room)
    return None if session is None else session.id
