"""Send to clients that may be slow or may not read: with deadlines, and large bodies in slices."""

import asyncio
import logging
import socket
from collections.abc import Awaitable
from contextlib import suppress

from aiohttp import hdrs, web

SLICE_BYTES = 64 * 1024
"""Size of a slice. At most three wait for one client: aiohttp drains at every second one, the transport at 64 KiB."""
MAX_UNSENT_BYTES = 64 * 1024
"""Bytes that may wait in a socket. Linux buffers up to 4 MB, and then accepts nothing until a third is sent. Without
this bound, a client that read 100 KB/s was cut off, because no slice was accepted for 5 s."""

logger = logging.getLogger(__name__)


async def sent(request: web.Request, sending: Awaitable[None], timeout_s: float) -> bool:
    """Return True if `sending` is done within `timeout_s`. If it is not, abort the connection."""
    try:
        async with asyncio.timeout(timeout_s):
            await sending
    except ConnectionError:
        return False
    except TimeoutError:
        logger.info("reader cut off: it did not read for %.0f s", timeout_s)
        _abort(request)
        return False
    return True


async def send_body(
    request: web.Request,
    response: web.StreamResponse,
    body: memoryview,
    *,
    slice_timeout_s: float,
    download_timeout_s: float,
) -> None:
    """Send `response` with this body, or only the headers in answer to HEAD.

    A client that does not read a slice, or the whole body, within its time-out is cut off.
    """
    response.content_length = len(body)
    _bound_unsent(request)
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return
    try:
        async with asyncio.timeout(download_timeout_s):
            for start in range(0, len(body), SLICE_BYTES):
                if not await sent(request, response.write(body[start : start + SLICE_BYTES]), slice_timeout_s):
                    return
                await asyncio.sleep(0)  # a write does not suspend while the client reads fast
    except TimeoutError:
        logger.info("reader cut off: it has not read everything after %.0f s", download_timeout_s)
        _abort(request)


def _bound_unsent(request: web.Request) -> None:
    connection = request.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # the socket is not TCP, or is closed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
