"""The lifecycle of a server that is mounted in another application or started by a command.

tests/processes/test_st*.py and test_terminal.py test `livecaption serve` itself.
"""

import asyncio
import gzip
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from livecaption.config import Config
from livecaption.errors import EngineUnusable, StoreUnusable
from livecaption.ipc.config import EngineConfig
from livecaption.live.config import LiveConfig, SocketLimits
from livecaption.server import build_app
from livecaption.server.config import ServerConfig
from livecaption.server.lifecycle import running_server
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from livecaption.workers.pool import PoolState
from tests.support.eventually import TIMEOUT_FACTOR, eventually
from tests.support.peers import close_codes, raw_peer
from tests.support.processes import serving
from tests.support.streaming import jfk_pcm, speaking
from tests.support.workers import worker_processes

Mount = Callable[..., Awaitable[tuple[web.AppRunner, web.Application, str]]]


def scripted(script: str = "", **server: float) -> Config:
    return Config(engine=EngineConfig("scripted", script), server=ServerConfig(**server))


@pytest.fixture
async def mount() -> AsyncIterator[Mount]:
    """Run livecaption in another application. Return the runner, livecaption's application, and its URL."""
    runners = []

    async def mounted(config: Config) -> tuple[web.AppRunner, web.Application, str]:
        theirs, ours = web.Application(), build_app(config)
        theirs.add_subapp("/captions/", ours)
        runner = web.AppRunner(theirs, shutdown_timeout=1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        assert await ours[SERVICES].pool.wait_until_loaded() is PoolState.READY
        host, port = runner.addresses[0]
        return runner, ours, f"http://{host}:{port}/captions/"

    yield mounted
    for runner in runners:
        await runner.cleanup()


async def test_a_clean_up_gets_finals_out_closes_with_1001_and_ends_the_workers(mount: Mount) -> None:
    runner, _, url = await mount(scripted("delay 0.3"))
    async with speaking(url, 3) as publishers:
        await asyncio.gather(*(publisher.streamed(1) for publisher in publishers))
        await runner.cleanup()
        assert worker_processes() == []
    for publisher in publishers:
        publisher.check_complete()


async def test_a_clean_up_does_not_wait_for_peers_that_neither_read_nor_answer(mount: Mount) -> None:
    """aiohttp has no time-out for `on_shutdown`, and closes sockets one after the other, with 10 s for each."""
    runner, _, url = await mount(scripted(drain_timeout_s=3.0))
    async with raw_peer(url) as silent, raw_peer(url) as flooding:
        for peer in (silent, flooding):
            await peer.send({"type": "start", "partials": False})
            await peer.send(jfk_pcm()[:64_000])

        async def flood() -> None:
            while True:
                await flooding.send({"type": "ping", "id": "p" * 100})

        flood_task = asyncio.ensure_future(flood())
        await asyncio.sleep(0.5)  # by now the flood has spent its allowance
        began_s = time.monotonic()
        await runner.cleanup()
        assert time.monotonic() - began_s < 3 + 1 * TIMEOUT_FACTOR
        flood_task.cancel()
        await asyncio.wait({flood_task})
        received = await silent.receive_all()
        assert b'"type":"final"' in received
        assert close_codes(received) == [1001]


async def test_a_drain_may_be_asked_for_again(mount: Mount) -> None:
    runner, ours, url = await mount(scripted("delay 0.3"))
    sessions = ours[SERVICES].sessions
    async with speaking(url) as [publisher]:
        await publisher.streamed(1)
        await asyncio.gather(sessions.drain(), sessions.drain())
        await sessions.drain()
        await runner.cleanup()
    publisher.check_complete()


async def test_a_drain_whose_waiter_is_cancelled_goes_on(mount: Mount) -> None:
    _, ours, url = await mount(scripted("delay 0.3"))
    async with speaking(url) as [publisher]:
        await publisher.streamed(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ours[SERVICES].sessions.drain(), 0.05)
    publisher.check_complete()


async def test_a_start_that_fails_beside_us_leaves_no_worker() -> None:
    """Row 31 of the fault matrix: the other application's `on_startup` fails after livecaption's."""

    async def fail(_: web.Application) -> None:
        raise RuntimeError("no database")

    app = build_app(scripted())
    app.on_startup.append(fail)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="no database"):
        await runner.setup()
    await runner.cleanup()
    assert app[SERVICES].pool.state is PoolState.STOPPED
    assert worker_processes() == []


async def test_a_client_that_vanishes_is_noticed_by_the_heartbeat_and_its_session_waits_for_it(mount: Mount) -> None:
    """Row 66 of the fault matrix, with 0.4 s instead of 20 s."""
    live = LiveConfig(socket=SocketLimits(heartbeat_s=0.4))
    _, ours, url = await mount(replace(scripted(), live=live))
    async with raw_peer(url) as peer:
        await peer.send({"type": "start"})
        await peer.send(bytes(3200))
        await eventually(lambda: len(ours[SERVICES].sessions) == 1)
        await eventually(lambda: ours[SERVICES].sessions.n_parked == 1, within_s=3)
        assert len(ours[SERVICES].sessions) == 1


async def test_a_server_of_ones_own_ends_with_its_block() -> None:
    async with AsyncExitStack() as stack:
        async with running_server(scripted()) as url:
            [publisher] = await stack.enter_async_context(speaking(url))
            await publisher.streamed(1)
        assert worker_processes() == []
    publisher.check_complete()


async def test_a_server_of_ones_own_whose_engine_is_unusable_raises_the_reason() -> None:
    with pytest.raises(EngineUnusable, match="refuses"):
        async with running_server(scripted("refuse")):
            pass
    assert worker_processes() == []


async def test_a_server_of_ones_own_stores_nothing(tmp_path: Path) -> None:
    """`transcribe` and `listen` read the same settings as `serve`, whose store may be in use. They need no keys."""
    config = replace(scripted(), store=StoreConfig(str(tmp_path / "transcripts.db")))
    config = replace(config, server=replace(config.server, tokens=str(tmp_path / "keys.toml")))
    async with running_server(config):
        assert os.listdir(tmp_path) == []


async def test_an_application_that_cannot_keep_what_it_should_does_not_start(tmp_path: Path) -> None:
    runner = web.AppRunner(build_app(replace(scripted(), store=StoreConfig(str(tmp_path)))))
    with pytest.raises(StoreUnusable):
        await runner.setup()
    await runner.cleanup()
    assert worker_processes() == []


RUN_APP = Path(__file__).parent.parent / "processes" / "run_app.py"


@pytest.mark.processes
@pytest.mark.parametrize("n_signals", [1, 2])
async def test_under_run_app_a_signal_gets_finals_out_and_a_second_one_leaves_no_worker(n_signals: int) -> None:
    """aiohttp skips every clean-up after the second signal; the workers end all the same."""
    async with serving(command=(sys.executable, str(RUN_APP), "delay 0.5")) as server:
        url = await server.listening()
        await server.logged("is ready")
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            for _ in range(n_signals):
                os.kill(server.pid, signal.SIGTERM)
                await asyncio.sleep(0.05)  # two signals at once would arrive as one
            await server.exited(within_s=4)
            await server.tree_gone()
        if n_signals == 1:
            publisher.check_complete()


async def test_a_compressed_body_is_never_decompressed() -> None:
    """Three kilobytes of gzip may be three megabytes."""
    async with running_server(scripted()) as url, ClientSession() as session:
        body = gzip.compress(b'{"secret": "a secret of sixteen", "title": "hall"}')
        async with session.put(f"{url}v1/rooms/hall", data=body, headers={"Content-Encoding": "gzip"}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, "invalid_message")
        async with session.put(f"{url}v1/rooms/hall", data=gzip.decompress(body)) as answer:
            assert answer.status == 200
