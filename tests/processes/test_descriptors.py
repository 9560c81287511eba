"""A server that has fewer file descriptors than readers."""

import asyncio
import os
import resource
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from livecaption.server.descriptors import OWN
from tests.support.eventually import eventually
from tests.support.processes import COMMAND, assert_clean_end, serving
from tests.support.streaming import speaking

pytestmark = pytest.mark.processes

N_DESCRIPTORS = 400
FEW = ("prlimit", f"--nofile={N_DESCRIPTORS}:{N_DESCRIPTORS}", *COMMAND)
N_READERS = 440
N_WAITING = 100
N_SILENT = 320
"""More connections than 256 descriptors allow, but not more than those and the backlog of the listening socket."""


@asynccontextmanager
async def readers(url: str, session: str, n: int) -> AsyncIterator[Counter[int]]:
    """Connect `n` readers at once, and keep those that are accepted. Yield the numbers of responses by HTTP status."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, n + 500), hard))
    answers: Counter[int] = Counter()

    async def read(http: aiohttp.ClientSession) -> None:
        async with http.get(f"{url}v1/sessions/{session}/events") as response:
            answers[response.status] += 1
            async for _ in response.content:
                pass

    timeout = aiohttp.ClientTimeout(total=None)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
            tasks = [asyncio.ensure_future(read(http)) for _ in range(n)]
            yield answers
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def waiting_for_admission(url: str, n: int) -> AsyncIterator[None]:
    """Connect `n` clients that send no first message."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(http.ws_connect(url) for _ in range(n)))
        yield


async def test_more_readers_than_descriptors_end_no_session_and_a_dead_worker_comes_back() -> None:
    """Connections that wait for admission have descriptors too."""
    async with serving("--workers=1", "--max-streams=3", command=FEW) as server:
        url = await server.ready()
        await server.logged(rf"{N_DESCRIPTORS} file descriptors are enough for \d+ readers, not for 5000 \(--max-r")
        async with speaking(url, 3) as publishers:
            session = (await publishers[0].received("ready"))["session"]
            async with readers(url, session, N_READERS) as answers:
                await eventually(lambda: answers.total() == N_READERS, within_s=30)
                assert set(answers) == {200, 503}
                assert 0 < answers[200] <= N_DESCRIPTORS - N_WAITING - OWN
                async with waiting_for_admission(url, N_WAITING):
                    [pid] = server.worker_pids
                    os.kill(pid, signal.SIGKILL)
                    await server.logged("worker 2 is ready")
                for publisher in publishers:
                    n_finals = len(publisher.of("final"))
                    await eventually(
                        lambda publisher=publisher, n=n_finals: len(publisher.of("final")) > n, within_s=20
                    )
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=8.0) == 0
            await assert_clean_end(server)
        for publisher in publishers:
            publisher.check_complete()
        assert len(server.lines) < 100


async def test_connections_that_take_all_descriptors_are_few_lines_of_the_log_and_a_worker_waits_for_its_own() -> None:
    """Connections without a request are not readers; the server closes them after ten seconds."""
    async with serving("--workers=1", command=("prlimit", "--nofile=256:256", *COMMAND)) as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.received("speech_start")
            port = int(url.rstrip("/").rpartition(":")[2])
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(N_SILENT)]
            await server.logged("no connection can be accepted just now: .*Too many open files")
            os.kill(server.worker_pids[0], signal.SIGKILL)
            await server.logged("worker 2 is ready", within_s=40)
            for _, writer in silent:
                writer.close()
            n_finals = len(publisher.of("final"))
            await eventually(lambda: len(publisher.of("final")) > n_finals, within_s=20)
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=8.0) == 0
            await assert_clean_end(server)
        publisher.check_complete()
        # Only the death that the test caused is logged.
        assert len([line for line in server.lines if "a worker cannot be started now" in line]) == 1
        assert len([line for line in server.lines if "the next one starts" in line]) == 1
        assert len(server.lines) < 100
