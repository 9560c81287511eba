"""A server of one WebSocket route, on a free port of loopback.

Not aiohttp's TestServer: that one cancels the handler of a connection that is lost, which a server does not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def websocket_server(stream: Callable[[web.Request], Awaitable[web.WebSocketResponse]]) -> AsyncIterator[str]:
    """Serve `stream` at `/v1/stream`; yield the address of the server."""
    application = web.Application()
    application.router.add_get("/v1/stream", stream)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}/".format(*runner.addresses[0])
    finally:
        await runner.cleanup()
