"""Run the program, and record all callbacks that hold its event loop.

    python -m livecaption.evaluation.holds FILE serve --port 0 ...

Each callback that takes at least 1 ms of CPU time becomes a line of FILE: its end (time.monotonic, s), its CPU time
(ms), and its name. CPU time is measured, because other processes may delay a callback. The garbage collector has its
own lines, because it may start in any callback.
"""

import asyncio
import gc
import runpy
import sys
import time
from pathlib import Path
from typing import TextIO

SHORTEST_MS = 1.0
COLLECTOR = "collector"


def record(file: TextIO) -> None:
    """Record the holds of all event loops of this process from now on."""
    run = asyncio.Handle._run
    collector_began_s = collector_s = 0.0

    def report(took_s: float, what: object) -> None:
        if took_s >= SHORTEST_MS / 1000:
            print(f"{time.monotonic():.6f} {1000 * took_s:.3f} {what!s}", file=file, flush=True)

    def timed(handle: asyncio.Handle) -> None:
        nonlocal collector_s
        callback = handle._callback  # type: ignore[attr-defined]
        collector_s = 0.0
        began_s = time.thread_time()
        run(handle)
        report(time.thread_time() - began_s - collector_s, getattr(callback, "__self__", callback))

    def collector_moves(phase: str, info: dict[str, int]) -> None:
        nonlocal collector_began_s, collector_s
        if phase == "start":
            collector_began_s = time.thread_time()
        else:
            took_s = time.thread_time() - collector_began_s
            collector_s += took_s
            report(took_s, COLLECTOR)

    asyncio.Handle._run = timed  # type: ignore[assignment, method-assign]
    gc.callbacks.append(collector_moves)


def read(path: Path, began_s: float, ended_s: float) -> tuple[float, float]:
    """Return the longest hold in a span of time, in ms: by a callback, and by the garbage collector; 0: none.

    Holds that began before the span or ended after it count too. CPU time is at most the time that a hold took.
    """
    longest_ms = {False: 0.0, True: 0.0}
    for line in path.read_text().splitlines():
        at, took, what = line.split(" ", 2)
        at_s, took_ms = float(at), float(took)
        if began_s <= at_s and at_s - took_ms / 1000 <= ended_s:
            longest_ms[what == COLLECTOR] = max(longest_ms[what == COLLECTOR], took_ms)
    return longest_ms[False], longest_ms[True]


if __name__ == "__main__":
    with open(sys.argv.pop(1), "w") as file:
        record(file)
        runpy.run_module("livecaption", run_name="__main__", alter_sys=True)
