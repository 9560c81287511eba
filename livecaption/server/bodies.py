"""The small bodies of requests, within a time. Recordings have times of their own: see `uploads`."""

import asyncio

from aiohttp import web

from livecaption.errors import TooSlow
from livecaption.server.services import SERVICES


async def arrival(request: web.Request) -> None:
    """Wait for the body of a request. After that, aiohttp's methods return it at once.

    Raises:
        TooSlow: it has not come in time.
    """
    timeout_s = request.app[SERVICES].config.server.http.keepalive_timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            await request.read()
    except TimeoutError:
        raise TooSlow(f"the body did not come within {timeout_s:.0f} s", code="body_timeout") from None
