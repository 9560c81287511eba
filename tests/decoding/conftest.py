"""Real decoder processes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from livecaption.decoding.pool import DecoderPool
from livecaption.ipc import children


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    """Make a pool, and check that it leaves no process and no task behind."""
    before = set(children._started)
    pool = DecoderPool()
    yield pool
    await pool.close()
    assert pool.pids == []
    assert children._started <= before
    assert not [task for task in asyncio.all_tasks() if "Decoder" in repr(task.get_coro())]
