"""Clients that do not read, do not answer, disappear, or are very many do not affect other clients.

The numbers of rows are those of the fault matrix.
"""

import asyncio
import resource
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import psutil
import pytest

from tests.support.peers import RawPeer, close_codes, raw_connection, raw_peer
from tests.support.processes import TIMEOUT_FACTOR, assert_clean_end, serving
from tests.support.streaming import jfk_pcm, speaking

pytestmark = pytest.mark.processes

PING = {"type": "ping", "id": "\N{SPEAKING HEAD IN SILHOUETTE}" * 100}
"""A request with the largest possible answer: 400 bytes on the wire, 500 times a second."""


async def flood(peer: RawPeer) -> None:
    """Request more answers than all buffers hold, and read none, until the server ends the connection."""
    try:
        while True:
            await peer.send(PING)
    except ConnectionError:
        pass


@asynccontextmanager
async def slow_reader(url: str) -> AsyncIterator["asyncio.Task[None]"]:
    """Open a stream whose client sends requests and never reads. The task is done when the server has cut it off."""
    async with raw_peer(url) as peer:
        await peer.send({"type": "start"})
        flooding = asyncio.ensure_future(flood(peer))
        yield flooding
        flooding.cancel()


async def test_a_slow_reader_is_cut_off_in_service_and_costs_the_others_nothing() -> None:
    """Row 65: the server cuts it off within 5 s after it stops reading. The messages that wait for it are bounded."""
    async with serving() as server:
        url = await server.ready()
        rss_before = psutil.Process(server.pid).memory_info().rss
        async with speaking(url, partials=False) as [publisher]:
            async with slow_reader(url) as flooding:
                await asyncio.wait_for(flooding, 40)
            await server.logged("peer cut off: it d(oes|id) not read")
            assert psutil.Process(server.pid).memory_info().rss - rss_before < 16 * 2**20
            await publisher.streamed(2)
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=4) == 0
            await assert_clean_end(server)
        publisher.check_complete()


async def test_a_client_that_never_reads_its_finals_delays_a_stop_by_two_seconds_at_most() -> None:
    """Rows 62 and 63: the last events and the close have a second each, and other clients are not delayed."""
    async with serving() as server:
        url = await server.ready()
        async with AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(raw_peer(url)) for _ in range(5)]
            for peer in silent:
                await peer.send({"type": "start", "partials": False})
                await peer.send(jfk_pcm()[:64_000])
            async with speaking(url) as [publisher]:
                await publisher.streamed(1)
                began_s = time.monotonic()
                server.send(signal.SIGTERM)
                await publisher.received("end")
                assert time.monotonic() - began_s < 1 * TIMEOUT_FACTOR
                assert await server.exited(within_s=2.5) == 0
                await assert_clean_end(server)
            publisher.check_complete()
            for peer in silent:
                received = await peer.receive_all()
                assert b'"type":"final"' in received
                assert b'"reason":"draining"' in received
                assert close_codes(received) == [1001]


async def test_a_crowd_that_floods_is_disconnected_in_order() -> None:
    """Row 64: 40 clients go on sending, and each gets its finals and 1001."""
    n = 40
    async with serving("--max-streams", str(n)) as server:
        url = await server.ready()
        async with speaking(url, n, partials=False) as publishers:
            await asyncio.gather(*(publisher.streamed(1) for publisher in publishers))
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=7 + 2) == 0
            await assert_clean_end(server)
        assert {publisher.close_code for publisher in publishers} == {1001}
        for publisher in publishers:
            assert len(publisher.of("final")) == len(publisher.of("speech_start"))
            assert publisher.events[-1]["type"] == "end"


async def test_handshakes_that_are_never_finished_are_closed_and_others_are_served_meanwhile() -> None:
    """Row 67: 500 connections send nothing or one byte a second, and each is closed after 10 s."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))
    async with serving() as server, AsyncExitStack() as stack:
        url = await server.ready()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        silent = [await stack.enter_async_context(raw_connection(url)) for _ in range(400)]
        dripping = [await stack.enter_async_context(raw_connection(url)) for _ in range(100)]

        async def drip() -> None:
            for byte in b"GET /v1/stream HTTP/1.1\r\nHost: ":
                for connection in dripping:
                    await loop.sock_sendall(connection, bytes([byte]))
                await asyncio.sleep(1)  # slow, but never silent

        dripper = asyncio.ensure_future(drip())
        async with aiohttp.ClientSession() as http, http.get(f"{url}healthz") as response:
            assert response.status == 200
        for connection in silent + dripping:
            with suppress(ConnectionError):
                assert await asyncio.wait_for(loop.sock_recv(connection, 1024), 20) == b""
        assert 8 < loop.time() - began_s < 13
        dripper.cancel()
        await asyncio.wait({dripper})
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=1) == 0
        await assert_clean_end(server)
