"""Send to clients that may be slow or may not read: with deadlines, and large bodies in slices."""

import asyncio
import logging
import socket
from collections.abc import Awaitable
from contextlib import suppress

from aiohttp import hdrs, web

from livecaption.live.websocket import SEND_TIMEOUT_S

SLICE_BYTES = 64 * 1024
"""Size of a slice. At most three wait for one client: aiohttp drains at every second one, the transport at 64 KiB."""
MAX_DOWNLOAD_S = 600.0
"""Time for one download. An hour of speech with words has 17 MB, so 30 KB/s is enough. A slower client is cut off,
because the body stays in memory meanwhile. It may request the rest with `Range: bytes=N-`."""
MAX_UNSENT_BYTES = 64 * 1024
"""Bytes that may wait in a socket. Linux buffers up to 4 MB, and then accepts nothing until a third is sent. Without
this bound, a client that read 100 KB/s was cut off, because no slice was accepted for 5 s."""

logger = logging.getLogger(__name__)


async def sent(request: web.Request, sending: Awaitable[None]) -> bool:
    """Return True if `sending` is done within `SEND_TIMEOUT_S`. If it is not, abort the connection."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await sending
    except ConnectionError:
        return False
    except TimeoutError:
        logger.info("reader cut off: it did not read for %.0f s", SEND_TIMEOUT_S)
        _abort(request)
        return False
    return True


async def send_body(request: web.Request, response: web.StreamResponse, body: memoryview) -> None:
    """Send `response` with this body, or only the headers in answer to HEAD.

    A client that reads no slice within `SEND_TIMEOUT_S`, or not the whole body within `MAX_DOWNLOAD_S`, is cut off.
    """
    response.content_length = len(body)
    _bound_unsent(request)
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return
    try:
        async with asyncio.timeout(MAX_DOWNLOAD_S):
            for start in range(0, len(body), SLICE_BYTES):
                if not await sent(request, response.write(body[start : start + SLICE_BYTES])):
                    return
                await asyncio.sleep(0)  # a write does not suspend while the client reads fast
    except TimeoutError:
        logger.info("reader cut off: it has not read everything after %.0f s", MAX_DOWNLOAD_S)
        _abort(request)


def _bound_unsent(request: web.Request) -> None:
    connection = request.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # the socket is not TCP, or is closed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
