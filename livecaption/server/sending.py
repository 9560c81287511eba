"""What goes out to a client that may not read it: in time, in slices, or not at all."""

import asyncio
import logging
import socket
from collections.abc import Awaitable
from contextlib import suppress

from aiohttp import hdrs, web

from livecaption.live.websocket import SEND_TIMEOUT_S

SLICE_BYTES = 64 * 1024
"""Three of them at most wait for one client: aiohttp waits at each second one, and the transport from 64 KiB on."""
MAX_DOWNLOAD_S = 600.0
"""An hour of speech with words has 17 MB, so a client that reads 30 KB a second gets it. A slower one is cut off: what
is sent stays in memory for as long. It may ask for the rest with `Range: bytes=N-`."""
MAX_UNSENT_BYTES = 64 * 1024
"""Linux lets up to 4 MB wait in a socket, and takes no more before a third of them has gone out. Measured without this
bound: a client that read 100 KB a second was cut off, as nothing seemed to go out for 5 s."""

logger = logging.getLogger(__name__)


async def sent(request: web.Request, sending: Awaitable[None]) -> bool:
    """Return whether it went out within `SEND_TIMEOUT_S`; if not, the connection is gone."""
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
    """Answer with `response` and this body, of which the headers alone answer HEAD.

    A client that reads no slice within `SEND_TIMEOUT_S`, or not all within `MAX_DOWNLOAD_S`, is cut off.
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
        with suppress(OSError):  # it is no TCP, or closed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
