"""The pool starts processes on demand, keeps one spare, and leaves none behind."""

import asyncio
import os
import signal
import time

import pytest

from livecaption.decoding import pool as pool_module
from livecaption.decoding.pool import DecoderPool
from tests.support.eventually import TIMEOUT_FACTOR, eventually

pytestmark = pytest.mark.processes


async def test_nothing_runs_before_the_first_container(pool: DecoderPool) -> None:
    assert pool.pids == []


async def test_after_the_first_one_more_waits_for_the_next(pool: DecoderPool) -> None:
    first = await pool.take()
    await eventually(lambda: len(pool.pids) == 2)
    (spare,) = set(pool.pids) - {first.pid}
    second = await pool.take()
    assert second.pid == spare


async def test_a_process_serves_one_container_and_no_other(pool: DecoderPool) -> None:
    """If the bytes of one client took over the process, another client's stream must not be affected."""
    first = await pool.take()
    first.end()
    await first.gone
    assert (await pool.take()).pid != first.pid


async def test_a_spare_process_that_died_is_not_given_out(pool: DecoderPool) -> None:
    first = await pool.take()
    await eventually(lambda: len(pool.pids) == 2)
    (spare,) = set(pool.pids) - {first.pid}
    os.kill(spare, signal.SIGKILL)
    await eventually(lambda: spare not in pool.pids)
    assert (await pool.take()).pid != spare


@pytest.mark.parametrize("by", ["take", "close"])
async def test_a_spare_process_that_died_leaves_no_socket_open(pool: DecoderPool, by: str) -> None:
    first = await pool.take()
    spare = await pool._spare
    os.kill(spare.pid, signal.SIGKILL)
    await eventually(lambda: pool.pids == [first.pid])
    await getattr(pool, by)()
    assert spare._writer.is_closing()


async def test_the_spare_one_ends_when_no_container_comes() -> None:
    pool = DecoderPool(keep_spare_s=1.0)
    (await pool.take()).end()
    await eventually(lambda: len(pool.pids) == 1)
    await eventually(lambda: pool.pids == [])
    await pool.close()


async def test_there_is_no_spare_one_for_a_command_that_needs_one_decoder() -> None:
    pool = DecoderPool(keep_spare_s=0)
    process = await pool.take()
    await asyncio.sleep(0)  # a spare one would have been started by now
    assert pool.pids == [process.pid]
    await pool.close()


async def test_many_that_come_at_once_start_few_at_a_time(pool: DecoderPool) -> None:
    taking = [asyncio.ensure_future(pool.take()) for _ in range(5)]
    n_ready = 0
    while n_ready < 5:
        await asyncio.wait([each for each in taking if not each.done()], return_when=asyncio.FIRST_COMPLETED)
        n_ready = sum(each.done() for each in taking)
        assert len(pool.pids) <= n_ready + pool_module.MAX_STARTING + 1
    assert len({each.result().pid for each in taking}) == 5


async def test_closing_ends_those_that_start_too(pool: DecoderPool) -> None:
    taking = asyncio.ensure_future(pool.take())
    await eventually(lambda: len(pool.pids) == 1)
    began_s = time.monotonic()
    await pool.close()
    assert pool.pids == []
    assert time.monotonic() - began_s < 1.0 * TIMEOUT_FACTOR
    await asyncio.wait({taking})
    assert taking.exception() is not None


async def test_a_stream_that_goes_while_its_process_starts_leaves_none(pool: DecoderPool) -> None:
    taking = asyncio.ensure_future(pool.take())
    await eventually(lambda: len(pool.pids) == 1)
    taking.cancel()
    await eventually(lambda: pool.pids == [])
