"""Check a condition again and again, within a generous time, where no event can be awaited."""

import asyncio
import os
from collections.abc import Callable

TIMEOUT_FACTOR = float(
    os.environ.setdefault("LIVECAPTION_TEST_TIMEOUT_FACTOR", "3" if "PYTEST_XDIST_WORKER" in os.environ else "1")
)
"""Beside other tests a process gets the processor later, and its end is noticed later. `evaluation.process_end` and
the processes that tests start read the same variable."""


async def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Return once `condition()` holds. Fail the test if it does not within the time."""
    async with asyncio.timeout(within_s * TIMEOUT_FACTOR):
        while not condition():  # noqa: ASYNC110 - no event can be awaited
            await asyncio.sleep(0.005)
