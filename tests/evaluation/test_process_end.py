"""The end of a process is an event. The time until it does not count what other programs take."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from livecaption.evaluation.process_end import TIMEOUT_FACTOR, Patience, ProcessEnd

pytestmark = pytest.mark.processes

PRINT_FACTORS = """
import tests.conftest
from livecaption.evaluation import process_end
from tests.support import eventually
print(eventually.TIMEOUT_FACTOR, process_end.TIMEOUT_FACTOR)
"""


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


def test_the_time_of_a_process_stands_still_while_it_waits_for_a_processor() -> None:
    """Two processes that compute share one processor, so each of them waits half of the time."""
    processor = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{processor}}}); print(flush=True)\nwhile True: pass"
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in started:
            assert process.stdout
            process.stdout.readline()
        began_s, patience = time.monotonic(), Patience(0.2, [started[0].pid])
        while patience.left_s() > 0:
            time.sleep(0.02)
        assert time.monotonic() - began_s > 1.2 * 0.2 * TIMEOUT_FACTOR
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("surroundings", "factor"), [({}, 1.0), ({"PYTEST_XDIST_WORKER": "gw0"}, 3.0)])
def test_beside_other_tests_everything_is_waited_for_three_times_as_long(
    surroundings: dict[str, str], factor: float
) -> None:
    kept = {name: value for name, value in os.environ.items() if "TEST" not in name}
    ended = subprocess.run(
        [sys.executable, "-c", PRINT_FACTORS],
        env=kept | {"LIVECAPTION_TEST_COLD": "1"} | surroundings,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [float(each) for each in ended.stdout.split()] == [factor, factor]
