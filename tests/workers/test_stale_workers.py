"""A worker waits for an earlier server's worker on its device, or ends it. Row 57 of the fault matrix."""

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
async def test_a_worker_waits_for_a_stale_one_to_end(
    start_crew: StartCrew, process: psutil.Popen, stale: WorkerIdentity, capfd: pytest.CaptureFixture[str]
) -> None:
    crew = await start_crew(wait=False)
    shown = f"an earlier server's inference process (pid {stale.pid}) is still there"
    await eventually(lambda: shown in capfd.readouterr().err)
    assert crew.pool.state is PoolState.LOADING
    process.kill()
    process.wait()
    assert await crew.pool.wait_until_loaded() is PoolState.READY


@pytest.mark.processes
async def test_no_model_is_loaded_beside_a_stale_worker(start_crew: StartCrew, stale: WorkerIdentity) -> None:
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
    capfd: pytest.CaptureFixture[str],
) -> None:
    with held(replace(orphan, created_s=1.0)):
        crew = await start_crew(kill_stale=True, stale_timeout_s=0.3)
    assert crew.pool.state is PoolState.FAILED
    assert process.poll() is None
    assert "is another process by now and is left alone" in capfd.readouterr().err


@pytest.mark.processes
async def test_stopping_does_not_wait_for_a_stale_worker(start_crew: StartCrew, stale: WorkerIdentity) -> None:
    crew = await start_crew(wait=False)
    await asyncio.sleep(0)
    async with asyncio.timeout(1.0):
        await crew.pool.stop()


@pytest.mark.processes
async def test_a_stale_worker_on_another_device_is_no_obstacle(start_crew: StartCrew, orphan: WorkerIdentity) -> None:
    """Such as a server on another GPU: their numbers may be the same, but not their UUIDs."""
    with held(replace(orphan, device="GPU-1b2c0000-0000-0000-0000-000000000000")):
        crew = await start_crew(stale_timeout_s=0.0)
        assert crew.pool.state is PoolState.READY


@pytest.mark.processes
async def test_another_server_on_the_same_device_is_no_obstacle(start_crew: StartCrew) -> None:
    first, second = await start_crew(), await start_crew()
    assert (first.pool.state, second.pool.state) == (PoolState.READY, PoolState.READY)
