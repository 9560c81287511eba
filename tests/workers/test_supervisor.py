"""A worker is started, and started again when it dies. The processes are real; those of some tests are idle."""

import asyncio
import errno
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from typing import Any

import pytest

from livecaption.ipc.config import EngineConfig
from livecaption.workers import spawning, supervisor
from livecaption.workers.config import WorkerConfig
from livecaption.workers.lifecycle import PoolState
from livecaption.workers.supervisor import Supervisor
from tests.support.eventually import eventually
from tests.support.puppets import CONFIG, LOADED, RESTART, Notes, Puppet
from tests.support.workers import worker_processes

pytestmark = pytest.mark.processes


def supervise(config: WorkerConfig, notes: Notes) -> Supervisor:
    engine = EngineConfig(engine="scripted", device="cpu")
    return Supervisor(engine, config, notes.listener, notes.on_state, lambda: True)


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, n_times: int) -> None:
    """Make so many starts fail with this error of the system."""
    start, refusals = SpawnProcess.start, iter(range(n_times))

    def start_or_refuse(process: SpawnProcess) -> None:
        if next(refusals, None) is not None:
            raise OSError(number, os.strerror(number))
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", start_or_refuse)


@asynccontextmanager
async def running(supervised: Supervisor) -> AsyncIterator[None]:
    """Run a supervisor, whose worker is ready."""
    task = asyncio.ensure_future(supervised.run())
    try:
        await eventually(lambda: supervised.state is PoolState.READY)
        yield
    finally:
        await supervised.stop()
        await task


async def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(monkeypatch, errno.EACCES, n_times=2)
    supervised = supervise(CONFIG, notes)
    running = asyncio.ensure_future(supervised.run())
    await eventually(lambda: supervised.state is PoolState.READY)
    assert caplog.text.count("could not be started: [Errno 13] Permission denied") == 2
    await supervised.stop()
    await running


@pytest.mark.parametrize("number", sorted(supervisor.SHORTAGES))
async def test_a_shortage_of_the_system_is_no_death_and_reported_once(
    number: int, monkeypatch: pytest.MonkeyPatch, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 79: descriptors, processes or memory are short for a while. As many deaths would open the breaker."""
    refuse(monkeypatch, number, n_times=2 * RESTART.breaker_deaths)
    supervised = supervise(CONFIG, notes)
    running = asyncio.ensure_future(supervised.run())
    await eventually(lambda: supervised.state is PoolState.READY)
    assert supervised.failure is None
    assert caplog.text.count("cannot be started") == 1
    await supervised.stop()
    await running


async def test_a_stop_ends_the_wait_for_what_is_short(monkeypatch: pytest.MonkeyPatch, notes: Notes) -> None:
    refuse(monkeypatch, errno.EMFILE, n_times=1)
    config = replace(CONFIG, shortage_interval_s=60.0)
    supervised = supervise(config, notes)
    running = asyncio.ensure_future(supervised.run())
    await asyncio.sleep(0)
    await supervised.stop()
    await asyncio.wait_for(running, 10)


async def test_a_pause_of_the_whole_server_kills_no_worker(puppets: list[Puppet], notes: Notes) -> None:
    """The same as above through the watch itself. A silence while the server ran counts."""
    config = replace(CONFIG, heartbeat_timeout_s=1.0, watch_interval_s=0.02)
    supervised = Supervisor(EngineConfig(device="cpu"), config, notes.listener, notes.on_state, lambda: True)
    running = asyncio.ensure_future(supervised.run())
    await eventually(lambda: len(puppets) == 1)
    puppets[0].send(LOADED)
    await eventually(lambda: supervised.state is PoolState.READY)
    began_s = time.monotonic()
    asyncio.get_running_loop().call_soon(time.sleep, 1.5)
    await eventually(lambda: "lost" in notes.calls)
    assert time.monotonic() - began_s > 1.5 + config.heartbeat_timeout_s
    await supervised.stop()
    await asyncio.wait_for(running, 20)


async def test_a_replacement_is_started_as_one_and_is_not_calibrated(
    monkeypatch: pytest.MonkeyPatch, notes: Notes
) -> None:
    """Streams wait for it, and the server has measured enough."""
    engines: list[EngineConfig] = []
    spawn = spawning.spawn

    def note(engine: EngineConfig, *others: Any) -> Any:
        engines.append(engine)
        return spawn(engine, *others)

    monkeypatch.setattr(spawning, "spawn", note)
    engine, none_ready = EngineConfig(engine="scripted", device="cpu"), [True, False]
    supervised = Supervisor(engine, CONFIG, notes.listener, notes.on_state, lambda: none_ready.pop(0))
    running = asyncio.ensure_future(supervised.run())
    await eventually(lambda: supervised.state is PoolState.READY)
    supervised.kill_now()
    await eventually(lambda: notes.calls.count(notes.calls[0]) == 2)
    assert [(each.calibrates, each.is_replacement) for each in engines] == [(True, False), (False, True)]
    await supervised.stop()
    await running


async def test_a_dead_worker_is_replaced_while_all_threads_of_the_loop_are_busy(notes: Notes) -> None:
    """A file system or a name server that does not answer keeps them for many seconds."""
    answered = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.ensure_future(asyncio.to_thread(answered.wait))
    async with running(supervise(CONFIG, notes)):
        try:
            os.kill(worker_processes()[0].pid, signal.SIGKILL)
            await eventually(lambda: notes.calls.count(notes.calls[0]) == 2)
            assert not busy.done()
        finally:
            answered.set()
    await busy


async def test_a_worker_that_dies_while_threads_are_short_is_replaced_once_they_are_not(
    monkeypatch: pytest.MonkeyPatch, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # it has no thread yet
    async with running(supervise(CONFIG, notes)):
        with monkeypatch.context() as shortage:
            shortage.setattr(threading.Thread, "start", refuse_thread)
            os.kill(worker_processes()[0].pid, signal.SIGKILL)
            await eventually(lambda: "a worker cannot be started now" in caplog.text)
        await eventually(lambda: notes.calls.count(notes.calls[0]) == 2)
