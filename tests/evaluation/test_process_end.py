"""The end of a process is an event; nothing polls for it."""

import asyncio
import sys
import time

import pytest

from livecaption.evaluation.process_end import ProcessEnd

pytestmark = pytest.mark.processes


async def test_the_end_of_a_process_is_reported_with_its_time() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    with ProcessEnd(process.pid) as end:
        asked_s = time.monotonic()
        await process.communicate(b"\n")
        ended_s = await end.wait(5)
    assert asked_s <= ended_s == end.ended_s <= time.monotonic()


async def test_a_process_that_does_not_end_in_time_is_named() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    with ProcessEnd(process.pid) as end, pytest.raises(TimeoutError, match=r"not ended within 0\.010 s: the child"):
        await end.wait(0.01, "the child")
    await process.communicate(b"\n")
    assert process.returncode == 0


async def test_a_process_that_is_gone_has_no_end_to_wait_for() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    with pytest.raises(ProcessLookupError):
        ProcessEnd(process.pid)
