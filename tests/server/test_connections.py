"""Clients that do not read what the server sends, or leave meanwhile."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from livecaption.server.connections import LOOKS, Runner, n_waiting_of
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.peers import raw_connection

BODY = bytes(16 * 1024 * 1024)
"""More than the kernel holds for a connection."""
REQUESTS = (("/body", 1), ("/files/long", 1), ("/files/short", 4000), ("/answer", 4000))
"""The path of some requests that a client sends at once, and their number."""


@asynccontextmanager
async def running(tmp_path: Path, unread_timeout_s: float, tls: ssl.SSLContext | None = None) -> AsyncIterator[Runner]:
    """Run a server that waits for this time for clients that do not read."""

    async def body(_: web.Request) -> web.Response:
        return web.Response(body=BODY)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=BODY[:1000])

    (tmp_path / "long").write_bytes(BODY)
    (tmp_path / "short").write_bytes(BODY[:20_000])
    app = web.Application()
    app.add_routes([web.get("/body", body), web.get("/answer", answer), web.static("/files", tmp_path)])
    runner = Runner(app, unread_timeout_s=unread_timeout_s, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner
    finally:
        await runner.cleanup()


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    async with running(tmp_path, unread_timeout_s=0.3) as runner:
        yield runner


def unread_connection(runner: Runner) -> AbstractAsyncContextManager[socket.socket]:
    [(_, port)] = runner.addresses
    return raw_connection(f"http://127.0.0.1:{port}/", receive_buffer_bytes=4096)


def request(connection: socket.socket, path: str, n: int) -> None:
    """Send `n` requests at once, or as many as the kernel takes."""
    connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * n)


async def test_clients_that_read_nothing_are_cut_off(runner: Runner) -> None:
    assert runner.server is not None
    server = runner.server
    async with AsyncExitStack() as stack:
        for path, n in REQUESTS:
            request(await stack.enter_async_context(unread_connection(runner)), path, n)
        await eventually(lambda: len(server.connections) == len(REQUESTS))
        await eventually(lambda: not server.connections, 30)


async def test_a_client_that_leaves_amid_its_files_is_no_fault_of_the_server(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    assert runner.server is not None
    server = runner.server
    async with unread_connection(runner) as connection:
        request(connection, "/files/short", 4000)
        await eventually(lambda: any(handler.writing_paused for handler in server.connections))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it ends with a reset
    await eventually(lambda: not server.connections, 30)
    assert caplog.records == []


def sizes() -> Iterator[int]:
    """Yield what waits at each look, while more is written than the client reads, until it reads no more."""
    size = 300
    yield size
    for _ in range(3):
        for _ in range(LOOKS - 1):
            size += 10
            yield size
        size -= 1
        yield size
    for _ in range(LOOKS):
        yield size


class SlowlyRead(asyncio.Transport):
    """A transport whose client reads more slowly than the server writes, until it reads no more."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = sizes()
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return next(self.waiting)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 1

    def abort(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        pass


async def test_a_client_that_reads_slowly_is_cut_off_only_when_it_stops_to_read(runner: Runner) -> None:
    assert runner.server is not None
    connection, transport = runner.server(), SlowlyRead()
    connection.connection_made(transport)
    connection.pause_writing()
    async with asyncio.timeout(20):
        await transport.aborted.wait()
    assert list(transport.waiting) == []
    connection.resume_writing()
    connection.connection_lost(None)


async def test_bytes_that_wait_below_tls_are_counted(tmp_path: Path) -> None:
    """A client that reads slowly would seem to read nothing. TLS passes nothing on before most of it is read."""
    tls = Authority().server(tmp_path, "localhost")
    trusting = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    async with running(tmp_path, 60.0, tls) as runner:
        [(_, port)] = runner.addresses
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        writer.write(b"GET /files/long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server = runner.server
        assert server is not None
        await eventually(lambda: any(connection.writing_paused for connection in server.connections))
        [connection] = server.connections
        assert connection.transport is not None
        assert n_waiting_of(connection.transport) > connection.transport.get_write_buffer_size() > 0
        writer.transport.abort()
        await eventually(lambda: not server.connections, 30)
