"""Readers get the events of a session as `text/event-stream` or over a WebSocket, and a QR code with its link.

A reader requests a session by its id, which cannot be guessed, and sends the reader token of a private one. No reader
can affect the publisher. Each handler pulls events from the hub when it can send more. A reader that receives nothing
for a while is cut off.
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
from livecaption.server import auth, links
from livecaption.server.http import STATIC
from livecaption.server.sending import sent
from livecaption.server.services import SERVICES

MAX_READ_BYTES = 4096
"""Largest message from a reader. The protocol has no messages from readers."""
MAX_MESSAGES = 20
"""Number of messages after which a reader is cut off. Some client programs send a few on their own."""
QR_SCALE = 8
"""Pixels of a QR module; the page scales the picture."""

MAX_DRAWN = 64
"""QR codes that are cached, of at most 30 KB each."""


async def watch_page(_: web.Request) -> web.FileResponse:
    """`GET /watch/{id}`: the readers' page. The page itself finds out whether the session exists."""
    return web.FileResponse(STATIC / "watch.html")


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/sessions/{id}/events`: server-sent events after the position `Last-Event-ID` or `?last_event_id=`.

    A reader that has received all of an ended session gets 204, which stops browsers from reconnecting.
    """
    session = _session(request)
    last_seq = _last_seq(request, session)
    if session.hub.ended and last_seq == session.hub.last_seq:
        return web.Response(status=204)
    with request.app[SERVICES].sessions.reading():
        return await _stream_events(request, session, last_seq)


async def watch(request: web.Request) -> web.WebSocketResponse:
    """`GET /v1/sessions/{id}/watch`: the same events over a WebSocket, which is closed with 1000 after `end`."""
    auth.check_origin(request, request.app[SERVICES].config.server)
    session = _session(request)
    with request.app[SERVICES].sessions.reading():
        return await _watch(request, session)


async def qr_code(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{id}/qr.svg`: the link to the readers' page, to be scanned from a screen in a hall.

    `?page=` is the address of the publisher's page: see `links.page_of`.
    The code of a private session contains the reader token, so the request must have that token.
    """
    session = _session(request)
    link = f"{links.page_of(request, request.app[SERVICES].config.server)}watch/{session.id}"
    if session.options.private:
        link += f"#token={auth.shown_reader_token(request)}"
    return web.Response(body=await asyncio.to_thread(_drawn, link), content_type="image/svg+xml")


@lru_cache(MAX_DRAWN)
def _drawn(link: str) -> bytes:
    """Draw the link as a QR code in SVG. The first time takes 12 ms."""
    svg = io.BytesIO()
    segno.make(link, error="m", micro=False).save(svg, kind="svg", xmldecl=False, scale=QR_SCALE, light="#fff")
    return svg.getvalue()


async def _stream_events(request: web.Request, session: LiveSession, last_seq: int | None) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
            hdrs.CACHE_CONTROL: "no-store",
            "X-Accel-Buffering": "no",  # otherwise nginx buffers captions until a memory page is full
        }
    )
    await response.prepare(request)
    config = request.app[SERVICES].config
    async with aclosing(session.hub.subscribe(last_seq, config.server.http.heartbeat_s)) as feed:
        async for messages in feed:
            if not await sent(request, response.write(_server_sent(messages)), config.live.socket.send_timeout_s):
                break
            messages.clear()  # free the memory: a snapshot has megabytes, and the next event may come much later
    return response


def _server_sent(messages: list[Message]) -> bytes:
    """Join messages for `text/event-stream`. Without messages, return a comment, which keeps the connection open."""
    return b"".join(message.server_sent for message in messages) or b":\n\n"


async def _watch(request: web.Request, session: LiveSession) -> web.WebSocketResponse:
    limits = request.app[SERVICES].config.live.socket
    socket = WebSocket(request, MAX_READ_BYTES, limits, auth.accepted_protocols(request))
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
        await socket.close(WSCloseCode.POLICY_VIOLATION, "a reader may not send messages")
    else:
        await socket.close(WSCloseCode.OK, "the session is over")
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


async def _send(request: web.Request, socket: WebSocket, session: LiveSession) -> None:
    # No heartbeat is needed, because the socket's own pings detect a lost reader.
    async with aclosing(session.hub.subscribe(_last_seq(request, session), heartbeat_s=3600.0)) as feed:
        async for messages in feed:
            while messages:  # free the memory: a snapshot has megabytes, and the next event may come much later
                if not await sent(request, socket.send(messages.pop(0).text), socket.limits.send_timeout_s):
                    return


def _session(request: web.Request) -> LiveSession:
    """Return the requested session.

    Raises:
        UnknownSession: there is no such session.
        Unauthorized: the session is private, and the request does not have its reader token.
    """
    session = request.app[SERVICES].sessions.find(request.match_info["session"])
    session.tokens.check_reader(auth.shown_reader_token(request))
    return session


def _last_seq(request: web.Request, session: LiveSession) -> int | None:
    """Return the position from which the reader continues. None: it has none or a wrong one, and gets a snapshot."""
    return session.hub.seq_of(request.headers.get("Last-Event-ID") or request.query.get("last_event_id", ""))
