"""A server waits for an earlier server's worker on the device, or ends it. Row 57 of the fault matrix."""

import asyncio
from dataclasses import replace

import psutil
import pytest

from livecaption.ipc.locks import WorkerIdentity
from livecaption.workers.pool import PoolState
from tests.support.eventually import eventually
from tests.support.stale_workers import held
from tests.workers.conftest import StartCrew


@pytest.mark.processes
async def test_a_server_waits_for_a_stale_worker_to_end(
    start_crew: StartCrew, process: psutil.Popen, stale: WorkerIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    crew = await start_crew(wait=False)
    await eventually(lambda: f"an earlier server's inference process (pid {stale.pid}) is still there" in caplog.text)
    assert crew.pool.state is PoolState.LOADING
    process.kill()
    process.wait()
    assert await crew.pool.wait_until_loaded() is PoolState.READY


@pytest.mark.processes
async def test_a_server_does_not_start_beside_a_stale_worker(start_crew: StartCrew, stale: WorkerIdentity) -> None:
    crew = await start_crew(stale_timeout_s=0.3)
    assert crew.pool.state is PoolState.FAILED
    assert crew.pool.failure is not None
    assert f"(pid {stale.pid}): --kill-stale ends it" in crew.pool.failure


@pytest.mark.processes
async def test_a_server_that_may_kill_it_starts_at_once(
    start_crew: StartCrew, process: psutil.Popen, stale: WorkerIdentity
) -> None:
    starting = asyncio.ensure_future(start_crew(kill_stale=True))
    assert await asyncio.to_thread(process.wait, 10) == -9
    crew = await starting
    assert crew.pool.state is PoolState.READY


@pytest.mark.processes
async def test_a_server_that_may_kill_it_still_kills_no_stranger(
    start_crew: StartCrew,
    process: psutil.Popen,
    orphan: WorkerIdentity,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with held(replace(orphan, created_s=1.0)):
        crew = await start_crew(kill_stale=True, stale_timeout_s=0.3)
    assert crew.pool.state is PoolState.FAILED
    assert process.poll() is None
    assert "is another process by now and is left alone" in caplog.text


@pytest.mark.processes
async def test_stopping_does_not_wait_for_a_stale_worker(start_crew: StartCrew, stale: WorkerIdentity) -> None:
    crew = await start_crew(wait=False)
    await asyncio.sleep(0)
    async with asyncio.timeout(1.0):
        await crew.pool.stop()


@pytest.mark.processes
async def test_another_server_on_the_same_device_is_no_obstacle(start_crew: StartCrew) -> None:
    first, second = await start_crew(), await start_crew()
    assert (first.pool.state, second.pool.state) == (PoolState.READY, PoolState.READY)
