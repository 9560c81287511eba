"""A server that follows a script."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.scripted_peer import Script, ServerOf


@pytest.fixture
async def server_of() -> AsyncIterator[ServerOf]:
    """Start a server that follows the script. Return its URL.

    `/v1/stream` reads `start` before. For a reader, the script gets the name and the parameters of the address.
    """
    servers = []

    async def start(script: Script) -> str:
        async def stream(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await script(socket, await socket.receive_json())
            await socket.close()
            return socket

        async def watch(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await script(socket, {**request.match_info, **request.query})
            await socket.close()
            return socket

        application = web.Application()
        application.router.add_get("/v1/stream", stream)
        application.router.add_get("/v1/rooms/{name}/watch", watch)
        servers.append(TestServer(application))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    for server in servers:
        await server.close()
