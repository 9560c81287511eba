"""Real decoder processes."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from livecaption.decoding.decoder import DecoderConfig
from livecaption.decoding.pool import DecoderPool
from livecaption.ipc import children

MakePool = Callable[..., DecoderPool]


@pytest.fixture
async def make_pool() -> AsyncIterator[MakePool]:
    """Make pools with time-outs of a `DecoderConfig`, and check that they leave no process and no task behind."""
    before = set(children._started)
    pools = []

    def make(**time_outs: float) -> DecoderPool:
        pools.append(DecoderPool(DecoderConfig(**time_outs)))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()
        assert pool.pids == []
    assert children._started <= before
    assert not [task for task in asyncio.all_tasks() if "Decoder" in repr(task.get_coro())]


@pytest.fixture
def pool(make_pool: MakePool) -> DecoderPool:
    return make_pool()
