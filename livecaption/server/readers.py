"""Who reads along: the events of a session as `text/event-stream` or over a WebSocket, and the code to the page.

A reader asks for a session by its id, which nobody can guess, and for a private one shows its reader token. Nothing
that a reader does, or fails to do, reaches the publisher: each takes from the hub what it can send, and who cannot be
sent anything for a while is cut off.
"""

import asyncio
import io
from contextlib import aclosing
from functools import lru_cache

import segno
from aiohttp import WSCloseCode, WSMsgType, hdrs, web

from livecaption.errors import MessageTooBig
from livecaption.live.event_log import Message
from livecaption.live.session import LiveSession
from livecaption.live.websocket import WebSocket
from livecaption.server import auth
from livecaption.server.http import STATIC
from livecaption.server.sending import sent
from livecaption.server.services import SERVICES

HEARTBEAT_S = 15.0
"""Proxies and phones drop connections in which nothing happens for 30 to 60 s."""
MAX_READ_BYTES = 4096
"""Of a message of a reader, who has nothing to say."""
MAX_MESSAGES = 20
"""A reader that sends so many is cut off; programs send some of their own accord."""
QR_SCALE = 8
"""Pixels of a module; the page draws the picture at any size."""

MAX_DRAWN = 64
"""QR codes that are kept, of 30 KB each at most."""


async def watch_page(_: web.Request) -> web.FileResponse:
    """`GET /watch/{id}`: the page to read along. Whether there is such a session, it finds out itself."""
    return web.FileResponse(STATIC / "watch.html")


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/sessions/{id}/events`: server-sent events, from the header `Last-Event-ID` or `?last_event_id=` on.

    204, at which browsers stop coming back, where the session is over and the reader knows all of it.
    """
    session = _session(request)
    last_seq = _last_seq(request, session)
    if session.hub.ended and last_seq == session.hub.last_seq:
        return web.Response(status=204)
    with request.app[SERVICES].sessions.reading():
        return await _stream_events(request, session, last_seq)


async def watch(request: web.Request) -> web.WebSocketResponse:
    """`GET /v1/sessions/{id}/watch`: the same over a WebSocket; closes with 1000 behind `end`."""
    auth.check_origin(request, request.app[SERVICES].config.server)
    session = _session(request)
    with request.app[SERVICES].sessions.reading():
        return await _watch(request, session)


async def qr_code(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{id}/qr.svg`: the address of the page, to be scanned from the wall of a hall.

    That of a private session lets in whoever scans it, and is given only to who shows the reader token.
    """
    session = _session(request)
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    page = request.url.with_scheme("https" if scheme == "https" else "http")
    page = page.with_path(f"{request.path.removesuffix('/qr.svg').rpartition('/v1/sessions/')[0]}/watch/{session.id}")
    token = auth.shown_reader_token(request)
    link = f"{page}#token={token}" if session.private else str(page)
    return web.Response(body=await asyncio.to_thread(_drawn, link), content_type="image/svg+xml")


@lru_cache(MAX_DRAWN)
def _drawn(link: str) -> bytes:
    """The link as a QR code, in SVG. Takes 12 ms the first time."""
    svg = io.BytesIO()
    segno.make(link, error="m", micro=False).save(svg, kind="svg", xmldecl=False, scale=QR_SCALE, light="#fff")
    return svg.getvalue()


async def _stream_events(request: web.Request, session: LiveSession, last_seq: int | None) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
            hdrs.CACHE_CONTROL: "no-store",
            "X-Accel-Buffering": "no",  # nginx would collect captions until there is a page of them
        }
    )
    await response.prepare(request)
    async with aclosing(session.hub.subscribe(last_seq, HEARTBEAT_S)) as feed:
        async for messages in feed:
            if not await sent(request, response.write(_server_sent(messages))):
                break
            messages.clear()  # a snapshot has megabytes, and the next event may be long in coming
    return response


def _server_sent(messages: list[Message]) -> bytes:
    """Messages for `text/event-stream`; none: a comment, which keeps the connection open."""
    return b"".join(message.server_sent for message in messages) or b":\n\n"


async def _watch(request: web.Request, session: LiveSession) -> web.WebSocketResponse:
    socket = WebSocket(request, MAX_READ_BYTES, auth.accepted_protocols(request))
    await socket.open()
    sending = asyncio.ensure_future(_send(request, socket, session))
    listening = asyncio.ensure_future(_listen(socket))
    try:
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        listening.cancel()
        await asyncio.wait({sending, listening})
    if not listening.cancelled() and listening.result():
        await socket.close(WSCloseCode.POLICY_VIOLATION, "a reader has nothing to say")
    else:
        await socket.close(WSCloseCode.OK, "the session is over")
    return socket.response


async def _listen(socket: WebSocket) -> bool:
    """Return False when the reader leaves, True when it says too much for one that has nothing to say."""
    for _ in range(MAX_MESSAGES):
        try:
            message = await socket.receive()
        except MessageTooBig:
            return True
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return False
    return True


async def _send(request: web.Request, socket: WebSocket, session: LiveSession) -> None:
    # The socket's own pings tell whether the reader lives: no message is needed for that.
    async with aclosing(session.hub.subscribe(_last_seq(request, session), heartbeat_s=3600.0)) as feed:
        async for messages in feed:
            while messages:  # taken out, as a snapshot has megabytes, and the next event may be long in coming
                if not await sent(request, socket.send(messages.pop(0).text)):
                    return


def _session(request: web.Request) -> LiveSession:
    """Raises UnknownSession, or Unauthorized where it is private and its token was not shown."""
    session = request.app[SERVICES].sessions.find(request.match_info["session"])
    session.tokens.check_reader(auth.shown_reader_token(request))
    return session


def _last_seq(request: web.Request, session: LiveSession) -> int | None:
    """None: the reader has just come, or names what is no event of this session as it runs; then it gets a snapshot."""
    return session.hub.seq_of(request.headers.get("Last-Event-ID") or request.query.get("last_event_id", ""))
