"""Bodies for clients that read slowly. test_transcripts.py and test_readers.py have clients that do not read at all."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.server import sending
from tests.support.peers import raw_connection

BODY = bytes(range(256)) * 16 * 1024
"""4 MiB."""


Serve = Callable[[float, float], Awaitable[str]]


@pytest.fixture
def serve(aiohttp_server: Callable[..., asyncio.Future[TestServer]]) -> Serve:
    """Run a server that answers with `BODY` within these time-outs, and return its URL."""

    async def started(slice_timeout_s: float, download_timeout_s: float) -> str:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await sending.send_body(
                request,
                response,
                memoryview(BODY),
                slice_timeout_s=slice_timeout_s,
                download_timeout_s=download_timeout_s,
            )
            return response

        app = web.Application()
        app.router.add_get("/", answer)
        return str((await aiohttp_server(app)).make_url("/"))

    return started


async def read_slowly(url: str) -> bytes:
    """Read all that the server sends, with pauses of at least one second in total."""
    loop = asyncio.get_running_loop()
    received = b""
    async with raw_connection(url, receive_buffer_bytes=64 * 1024) as connection:
        await loop.sock_sendall(connection, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        try:
            while data := await loop.sock_recv(connection, 32 * 1024):
                received += data
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
    return received.partition(b"\r\n\r\n")[2]


async def test_a_client_that_reads_slowly_and_steadily_gets_everything(serve: Serve) -> None:
    assert await read_slowly(await serve(0.5, 60.0)) == BODY


async def test_a_client_that_takes_too_long_altogether_is_cut_off(serve: Serve) -> None:
    received = await read_slowly(await serve(60.0, 0.2))
    assert len(received) < len(BODY)
    assert BODY.startswith(received)
