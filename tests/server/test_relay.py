"""Whole bytes of a client with TLS and another process arrive, in both directions, and a slow side is waited for."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from livecaption.server import certificate
from livecaption.server.relay import Relays

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GREETING = b"hello"
MAX_HELD_BYTES = 32 * 1024 * 1024
"""More than the buffers on the way. The kernel has up to 10 MB for a connection over TCP."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def relayed(directory: Path) -> AsyncIterator[tuple[Relays, Streams, Streams]]:
    """Relay one connection. Yield the client and the other process, each with what it reads and writes."""
    relays = Relays()
    ours, theirs = socket.socketpair()

    async def handle(request: web.Request) -> web.Response:
        relays.begin(request.protocol, ours)
        return web.Response(text="nobody receives this")

    pem = certificate.ensure(directory, {"localhost"}, datetime.now(UTC)).path
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    [(host, port)] = runner.addresses
    trusting = ssl.create_default_context(cafile=pem)
    client = await asyncio.open_connection(host, port, ssl=trusting, server_hostname="localhost")
    process = await asyncio.open_connection(sock=theirs)
    client[1].write(REQUEST)
    try:
        process[1].write(GREETING)
        await client[0].readexactly(len(GREETING))  # from now on it is relayed
        yield relays, client, process
    finally:
        for _, writer in (client, process):
            writer.transport.abort()
        await relays.ended(0)
        await runner.cleanup()


async def sent(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_both_directions_arrive_whole_at_the_same_time(tmp_path: Path) -> None:
    there, back = bytes(range(251)) * 20_000, bytes(range(239)) * 20_000
    async with relayed(tmp_path) as (_, client, process), asyncio.timeout(30):
        sending = asyncio.gather(sent(client[1], there), sent(process[1], back))
        received = await asyncio.gather(process[0].readexactly(len(there)), client[0].readexactly(len(back)))
        await sending
    assert received == [there, back]


@pytest.mark.parametrize("sender", ["client", "process"])
async def test_a_side_that_does_not_read_stops_the_other_one(sender: str, tmp_path: Path) -> None:
    async with relayed(tmp_path) as (_, client, process), asyncio.timeout(30):
        writer, reader = (client[1], process[0]) if sender == "client" else (process[1], client[0])
        n_bytes = 0
        chunk = bytes(65536)
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await sent(writer, chunk)
            except TimeoutError:
                break
            n_bytes += len(chunk)
            assert n_bytes < MAX_HELD_BYTES
        await reader.readexactly(n_bytes)


@pytest.mark.parametrize("leaver", ["client", "process"])
async def test_a_side_that_leaves_ends_the_other_one_after_all_that_it_has_sent(leaver: str, tmp_path: Path) -> None:
    async with relayed(tmp_path) as (relays, client, process), asyncio.timeout(30):
        writer, reader = (client[1], process[0]) if leaver == "client" else (process[1], client[0])
        await sent(writer, bytes(300_000))
        writer.close()
        assert len(await reader.read(-1)) == 300_000
        await relays.ended(10)


async def test_a_stop_waits_for_the_last_words_of_the_other_process_and_not_for_ever(tmp_path: Path) -> None:
    async with relayed(tmp_path) as (relays, client, process), asyncio.timeout(30):
        stop = asyncio.ensure_future(relays.ended(0.1))
        await sent(process[1], b"last words")
        assert await client[0].readexactly(10) == b"last words"
        assert not stop.done()
        await stop
        assert await process[0].read() == b""
