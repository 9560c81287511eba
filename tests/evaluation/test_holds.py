"""The holds of an event loop are recorded: callbacks, and separately the garbage collector."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from livecaption.evaluation import holds

PROGRAM = """
import asyncio, gc, sys, time
from livecaption.evaluation import holds

def spend(cpu_s):
    end_s = time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        pass

async def hold():
    spend(0.05)
    await asyncio.sleep(0)
    time.sleep(0.2)  # takes no CPU time: as where another process has the core
    await asyncio.sleep(0)
    many = [[] for _ in range(300_000)]
    gc.collect()

holds.record(open(sys.argv[1], "w"))
asyncio.run(hold())
"""


def test_holds_are_recorded_in_cpu_time_and_the_collector_apart(tmp_path: Path) -> None:
    path = tmp_path / "holds"
    subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=True, timeout=30)
    hold_ms, collector_ms = holds.read(path, 0.0, time.monotonic())
    assert 50 <= hold_ms < 200
    assert collector_ms > 0
    [task] = {line.split(" ", 2)[2][:5] for line in path.read_text().splitlines() if not line.endswith(holds.COLLECTOR)}
    assert task == "<Task"


@pytest.mark.parametrize(
    ("began_s", "ended_s", "expected"),
    [
        (0.0, 9.0, (3.5, 20.0)),
        (2.0, 9.0, (1.5, 20.0)),
        (4.0, 9.0, (0.0, 0.0)),
        (1.5, 1.99, (0.0, 20.0)),  # the collector ran from 1.98 to 2.0
        (1.5, 1.97, (0.0, 0.0)),
    ],
)
def test_the_longest_of_a_span_is_read_even_if_it_ended_later(
    began_s: float, ended_s: float, expected: tuple[float, float], tmp_path: Path
) -> None:
    path = tmp_path / "holds"
    path.write_text("1.0 3.5 <Task a>\n2.0 20.0 collector\n3.0 1.5 <Task b c>\n")
    assert holds.read(path, began_s, ended_s) == expected
