"""Bodies for clients that read slowly. test_transcripts.py and test_readers.py have clients that do not read at all."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.server import sending
from tests.support.peers import raw_connection

BODY = bytes(range(256)) * 16 * 1024
"""4 MiB."""


@pytest.fixture
async def url(aiohttp_server: Callable[..., asyncio.Future[TestServer]]) -> str:
    """Run a server that answers with `BODY`, and yield its URL."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await sending.send_body(request, response, memoryview(BODY))
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    return str((await aiohttp_server(app)).make_url("/"))


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


async def test_a_client_that_reads_slowly_and_steadily_gets_everything(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", 0.5)
    assert await read_slowly(url) == BODY


async def test_a_client_that_takes_too_long_altogether_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MAX_DOWNLOAD_S", 0.2)
    received = await read_slowly(url)
    assert len(received) < len(BODY)
    assert BODY.startswith(received)
