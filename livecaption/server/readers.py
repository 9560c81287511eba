"""Readers get the events of a session or room as `text/event-stream` or over a WebSocket, and a QR code with its link.

A reader requests a session by its id, which cannot be guessed, or a room by its name, and sends the reader token of a
private one, or a key. No reader can affect the publisher. Each handler pulls events when it can send more. A reader
that receives nothing for a while is cut off, and so is one whose key no longer allows to read.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import lru_cache
from http import HTTPStatus

from aiohttp import WSCloseCode, WSMsgType, hdrs, web

from livecaption.errors import MessageTooBig
from livecaption.ipc import logs
from livecaption.keys import Key, Role
from livecaption.live.anywhere import ReadableSession
from livecaption.live.event_log import Message
from livecaption.live.room import Room, RoomMessage
from livecaption.live.room_state import RoomState, is_name
from livecaption.live.websocket import WebSocket
from livecaption.recognition import logged_id
from livecaption.server import auth, links
from livecaption.server.http import STATIC
from livecaption.server.keys import KEYS
from livecaption.server.sending import sent
from livecaption.server.services import SERVICES

MAX_READ_BYTES = 4096
"""Largest message from a reader. The protocol has no messages from readers."""
MAX_MESSAGES = 20
"""Number of messages after which a reader is cut off. Some client programs send a few on their own."""
QR_SCALE = 8
"""Pixels of a QR module; the page scales the picture."""

WEBSOCKET_HEARTBEAT_S = 60.0
"""Time in s after which the feed of a session's WebSocket wakes up. Nothing is sent then, because the socket itself
detects a lost reader by pings."""

RETRY = b"retry: 500\n"
"""The time in ms after which a browser comes back to a stream that has ended: the room goes on in another process, or
the next server does. Their own times are 3 to 5 s. Shorter: more requests while there is no server."""
MAX_DRAWN = 64
"""QR codes that are cached, of at most 30 KB each."""


Feed = AsyncGenerator[list[Message], None]


async def watch_page(_: web.Request) -> web.FileResponse:
    """`GET /watch/{id}`: the readers' page. The page itself finds out whether the session exists."""
    return web.FileResponse(STATIC / "watch.html")


async def watch_page_below(request: web.Request) -> web.Response:
    """`GET /watch/{id}/`: redirect to the address without the last `/`, which people type."""
    name = request.match_info["room"]
    if not is_name(name):
        raise web.HTTPNotFound
    query = f"?{raw}" if (raw := request.rel_url.raw_query_string) else ""
    # A relative address: a proxy may serve this below a path of its own.
    return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={hdrs.LOCATION: f"../{name}{query}"})


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/sessions/{id}/events`: server-sent events after the position `Last-Event-ID` or `?last_event_id=`.

    A reader that has received all of an ended session gets 204, which stops browsers from reconnecting.
    """
    session, key = await _session(request)
    last_seq = _last_seq(request, session)
    if session.hub.ended and last_seq == session.hub.last_seq:
        return web.Response(status=204)
    heartbeat_s = request.app[SERVICES].config.server.http.heartbeat_s
    with request.app[SERVICES].sessions.reading():
        return await _stream_events(request, session.hub.subscribe(last_seq, heartbeat_s), key, lambda: session)


async def room_events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/rooms/{room}/events`: the same for all parts of a room, up to its end, with its state."""
    room, key = await _room(request)
    services = request.app[SERVICES]
    with room.used():
        if await room.is_over_for(_cursor(request)):
            return web.Response(status=204)
        with services.sessions.reading():
            heartbeat_s = services.config.server.http.heartbeat_s
            feed = room.subscribe(_cursor(request), heartbeat_s)
            return await _stream_events(request, feed, key, lambda: room.speaker)


async def watch(request: web.Request) -> web.WebSocketResponse:
    """`GET /v1/sessions/{id}/watch`: the same events over a WebSocket, which is closed with 1000 after `end`."""
    auth.check_origin(request, request.app[SERVICES].config.server)
    session, key = await _session(request)
    with request.app[SERVICES].sessions.reading():
        feed = session.hub.subscribe(_last_seq(request, session), WEBSOCKET_HEARTBEAT_S)
        return await _watch(request, feed, key, lambda: session, lambda: session.hub.ended)


async def room_watch(request: web.Request) -> web.WebSocketResponse:
    """`GET /v1/rooms/{room}/watch`: the same for all parts of a room, up to its end, with its state."""
    auth.check_origin(request, request.app[SERVICES].config.server)
    room, key = await _room(request)
    services = request.app[SERVICES]
    with room.used(), services.sessions.reading():
        feed = room.subscribe(_cursor(request), services.config.server.http.heartbeat_s)
        # A page does not see pings: the room, sent again, shows it that the connection is alive.
        return await _watch(
            request,
            feed,
            key,
            lambda: room.speaker,
            lambda: room.state is RoomState.ENDED,
            lambda: RoomMessage(0, room.description(), ""),
        )


async def qr_code(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{id}/qr.svg`: the link to the readers' page, to be scanned from a screen in a hall.

    `?page=` is the address of the publisher's page: see `links.page_of`.
    The code of a private session contains the reader token, so the request must have that token. A key is not enough,
    and would not be for a screen.
    """
    session, _ = await _session(request)
    session.tokens.check_reader(auth.shown_reader_token(request))
    return await _qr_code(request, session.id, private=session.options.private)


async def room_qr_code(request: web.Request) -> web.Response:
    """`GET /v1/rooms/{room}/qr.svg`: the same for a room, also before its first part."""
    room, _ = await _room(request)
    room.check_reader(auth.shown_reader_token(request))
    return await _qr_code(request, room.about.name, private=room.private)


async def _qr_code(request: web.Request, name: str, *, private: bool) -> web.Response:
    link = f"{links.page_of(request, request.app[SERVICES].config.server)}watch/{name}"
    if private:
        link += f"#token={auth.shown_reader_token(request)}"
    return web.Response(body=await asyncio.to_thread(_drawn, link), content_type="image/svg+xml")


@lru_cache(MAX_DRAWN)
def _drawn(link: str) -> bytes:
    """Draw the link as a QR code in SVG. The first time takes 12 ms, and the import of the library 50 ms."""
    import segno  # here, because most servers are never asked for a code

    svg = io.BytesIO()
    segno.make(link, error="m", micro=False).save(svg, kind="svg", xmldecl=False, scale=QR_SCALE, light="#fff")
    return svg.getvalue()


async def _stream_events(
    request: web.Request, messages_of: Feed, key: Key | None, session_of: Callable[[], ReadableSession | None]
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
            hdrs.CACHE_CONTROL: "no-store",
            "X-Accel-Buffering": "no",  # otherwise nginx buffers captions until a memory page is full
        }
    )
    await response.prepare(request)
    send_timeout_s = request.app[SERVICES].config.live.socket.send_timeout_s
    retry = RETRY
    async with request.app[SERVICES].cut_off.reading(session_of), aclosing(messages_of) as feed:
        async for messages in feed:
            if not _may_read(request, key):
                break
            if not await sent(request, response.write(retry + _server_sent(messages)), send_timeout_s):
                break
            retry = b""
            messages.clear()  # free the memory: a snapshot has megabytes, and the next event may come much later
    return response


def _server_sent(messages: list[Message]) -> bytes:
    """Join messages for `text/event-stream`. Without messages, return a comment, which keeps the connection open."""
    return b"".join(message.server_sent for message in messages) or b":\n\n"


async def _watch(
    request: web.Request,
    feed: Feed,
    key: Key | None,
    session_of: Callable[[], ReadableSession | None],
    is_over: Callable[[], bool],
    heartbeat: Callable[[], Message] | None = None,
) -> web.WebSocketResponse:
    limits = request.app[SERVICES].config.live.socket
    socket = WebSocket(request, MAX_READ_BYTES, limits, auth.accepted_protocols(request))
    await socket.open()
    sending = asyncio.ensure_future(_send(request, socket, feed, key, session_of, heartbeat))
    listening = asyncio.ensure_future(_listen(socket))
    try:
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        listening.cancel()
        await asyncio.wait({sending, listening})
    if not listening.cancelled() and listening.result():
        await socket.close(WSCloseCode.POLICY_VIOLATION, "a reader may not send messages")
    elif not _may_read(request, key):
        await socket.close(WSCloseCode.POLICY_VIOLATION, "the key no longer allows to read this")
    elif sending.cancelled() or is_over():
        await socket.close(WSCloseCode.OK, "everything is sent")
    else:
        await socket.close(WSCloseCode.SERVICE_RESTART, "the next server goes on")
    return socket.response


async def _listen(socket: WebSocket) -> bool:
    """Return False when the reader leaves, and True when it has sent too many or too large messages."""
    for _ in range(MAX_MESSAGES):
        try:
            message = await socket.receive()
        except MessageTooBig:
            return True
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return False
    return True


async def _send(
    request: web.Request,
    socket: WebSocket,
    messages_of: Feed,
    key: Key | None,
    session_of: Callable[[], ReadableSession | None],
    heartbeat: Callable[[], Message] | None,
) -> None:
    async with request.app[SERVICES].cut_off.reading(session_of), aclosing(messages_of) as feed:
        async for messages in feed:
            if not messages and heartbeat is not None:
                messages.append(heartbeat())
            while messages:  # free the memory: a snapshot has megabytes, and the next event may come much later
                if not _may_read(request, key):
                    return
                if not await sent(request, socket.send(messages.pop(0).text), socket.limits.send_timeout_s):
                    return


def _may_read(request: web.Request, key: Key | None) -> bool:
    """Return False if the reader's key was removed, has expired or lost its role. None: the reader needs none."""
    return key is None or request.app[KEYS].still_allows(key, Role.READ)


async def _session(request: web.Request) -> tuple[ReadableSession, Key | None]:
    """Return the requested session, wherever it runs, and the key that it needs, if any. Use it before the next await.

    Raises:
        UnknownSession: there is no such session.
        StoreFailed: it is not here, and the store cannot be read.
        Unavailable: it is left to other servers.
        Unauthorized, ForbiddenRole, LimitReached: the session is private, see `auth.check_reader`.
    """
    services = request.app[SERVICES]
    session = await services.anywhere.find(request.match_info["session"])
    services.cut_off.check_reader(session)
    key = auth.check_reader(request, session.tokens.check_reader)
    logs.note(session=logged_id(session.id))
    return session, key


async def _room(request: web.Request) -> tuple[Room, Key | None]:
    """Return the requested room, and the key that it needs, if any. Use it before the next `await`.

    Raises:
        UnknownSession: there is no such room.
        Unavailable: its part is left to other servers.
        Unauthorized, ForbiddenRole, LimitReached: the room is private, see `auth.check_reader`.
    """
    services = request.app[SERVICES]
    room = await services.rooms.find(request.match_info["room"])
    services.cut_off.check_reader(room.speaker)
    key = auth.check_reader(request, room.check_reader)
    logs.note(room=logged_id(room.about.name))
    return room, key


def _last_seq(request: web.Request, session: ReadableSession) -> int | None:
    """Return the position from which the reader continues. None: it has none or a wrong one, and gets a snapshot."""
    return session.hub.seq_of(_cursor(request))


def _cursor(request: web.Request) -> str:
    return request.headers.get("Last-Event-ID") or request.query.get("last_event_id", "")
