"""Measure a whole server with its model, for `livecaption.evaluation.gpu`: the streams it takes, and kills."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from livecaption.evaluation.bench import MAX_STAGGER_S
from livecaption.evaluation.gpu.environment import used_bytes
from livecaption.evaluation.gpu.report import is_too_late, pooled
from livecaption.evaluation.gpu.step import Record, StepSettings, main
from livecaption.evaluation.process_end import ProcessEnd
from livecaption.evaluation.server_process import ServerProcess, serving

READY = r" livecaption: ready$"
READY_WITHIN_S = 60.0
CLIENT_STREAMS = 150
"""Streams of one client process. With more its loop would lag, and lag counts as latency of the server."""
DURATION_S = 16.0
"""Time for each number of streams. Shorter: too few of the recordings end in it. Longer: fewer numbers are tried."""
CATCH_UP_S = 8.0
"""Time for start and end of a run: clients load the recordings, and the last finals come."""
FIRST_STREAMS = 128
CPU_FIRST_STREAMS = 2
PRECISION = 1 / 16
"""Part of the streams that were too many by which fewer were in time, at most, when the search ends."""
MAX_STREAMS = 10_000

FREED_WITHIN_S = 10.0
SAME_BYTES = 64 * 2**20
"""Memory of a GPU, above that before, at which it counts as free again. The driver keeps some for itself."""


def streams(settings: StepSettings, record: Record) -> None:
    """Search the most streams whose finals come in time, until the time is over. Admission is off."""
    asyncio.run(_sweep(settings, record))


def kill(settings: StepSettings, record: Record) -> None:
    """Kill the worker, then the server, and measure until work goes on, and until the device's memory is free."""
    asyncio.run(_kill(settings, record))


def _server(settings: StepSettings, *flags: str) -> AbstractAsyncContextManager[ServerProcess]:
    model = ("--model", settings.model) if settings.model else ()
    chosen = ("--device", settings.device, "--compute-type", settings.compute_type)
    return serving(*chosen, *model, *flags, engine="")


async def _sweep(settings: StepSettings, record: Record) -> None:
    end_s = time.monotonic() + settings.limit_s
    first = CPU_FIRST_STREAMS if settings.on_cpu else FIRST_STREAMS
    held, late = 0, None
    async with _server(settings, "--max-streams", str(MAX_STREAMS)) as server:
        await server.logged(READY, READY_WITHIN_S)
        url = await server.listening()
        while (n_streams := next_streams(held, late, first)) is not None:
            if end_s - time.monotonic() < DURATION_S + CATCH_UP_S:
                record({"ended": "no time for more streams"})
                return
            row = await _stream(url, settings.data, n_streams)
            record(row)
            if is_too_late(row):
                late = n_streams
            else:
                held = n_streams


def next_streams(held: int, late: int | None, first: int) -> int | None:
    """Return the number of streams to try next; None: the result is precise enough. Pure.

    Args:
        held: the most streams whose finals came in time.
        late: the fewest whose finals did not; None: not found yet, so the number is doubled.
        first: the number to begin with.
    """
    if late is None:
        return 2 * held or first
    return None if late - held <= max(1, PRECISION * late) else (held + late) // 2


async def _stream(url: str, data: Path, n_streams: int) -> dict[str, Any]:
    """Stream on as many client processes as that takes, and return the figures of all."""
    n_clients = -(-n_streams // CLIENT_STREAMS)
    shares = [(n_streams + i) // n_clients for i in range(n_clients)]
    with tempfile.TemporaryDirectory() as directory:

        async def client(i: int) -> dict[str, Any]:
            # All play the same recordings in the same order, and must not pause at the same time.
            await asyncio.sleep(i * MAX_STAGGER_S / n_clients / shares[i])
            figures = Path(directory) / f"{i}.json"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "livecaption", "bench", "--data", data, "--server", url),
                *("--streams", str(shares[i]), "--duration", str(DURATION_S), "--json", figures),
                stdout=asyncio.subprocess.DEVNULL,
            )
            await process.wait()
            [row] = json.loads(figures.read_text(encoding="utf-8"))["rows"]
            return dict(row)

        return pooled(await asyncio.gather(*map(client, range(n_clients))))


async def _kill(settings: StepSettings, record: Record) -> None:
    pids: list[int] = []

    def used() -> int:
        return used_bytes(settings.device, pids)

    before = used()
    begin_s = time.monotonic()
    async with _server(settings, "--workers", "1") as server:
        await server.logged(READY, READY_WITHIN_S)
        ready_s = time.monotonic() - begin_s
        pids = server.worker_pids
        loaded = used()
        killed_s = time.monotonic()
        os.kill(pids[0], signal.SIGKILL)
        await server.logged(r"worker 2 is ready", READY_WITHIN_S)
        again_s = time.monotonic() - killed_s
        pids = server.worker_pids
        record(
            {
                "killed": "worker",
                "server_ready_s": ready_s,
                "ready_again_s": again_s,
                "used_before_bytes": before,
                "used_bytes": loaded,
                "used_again_bytes": used(),
            }
        )
        with ProcessEnd(pids[0]) as worker:
            killed_s = time.monotonic()
            server.send(signal.SIGKILL)
            gone_s = await worker.wait(FREED_WITHIN_S) - killed_s
        free = before if settings.on_cpu else before + SAME_BYTES
        is_seen = loaded > free  # otherwise the driver does not show it
        free_s = await _freed_s(lambda: used() <= free, killed_s) if is_seen else None
        record({"killed": "server", "worker_gone_s": gone_s, "memory_free_s": free_s, "used_after_bytes": used()})


async def _freed_s(is_free: Callable[[], bool], since_s: float) -> float | None:
    """Return the time until the memory is free, which nothing reports; None: it is not."""
    while time.monotonic() < since_s + FREED_WITHIN_S:
        if is_free():
            return time.monotonic() - since_s
        await asyncio.sleep(0.005)
    return None


if __name__ == "__main__":
    main({"streams": streams, "kill": kill}, sys.argv[1:])
