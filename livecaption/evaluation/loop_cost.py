"""Measure what a stream costs the server's process, and how late its event loop is. Linux only.

    python -m livecaption.evaluation.loop_cost RECORDING [--streams 50,150] [--speech 70] [--seconds 20] [--processes 1]

The server has the scripted engine and a store. The streams come from a process of their own at the pace of speech:
16 kHz, 16-bit integers, messages of 100 ms, each stream from another place of the recording. Faint noise follows the
recording, which takes `--speech` percent of the time.

The cost is CPU time of the server's process, without its workers, for each second of received audio. It is divided
among the stages as `evaluation.stages` measures them in a second run. The lag of the event loop is that of the server's
own histogram, `livecaption_event_loop_lag_seconds`. With several processes, cost and memory are those of all together,
and so are the looks at their loops; stages are not measured then.
"""

import argparse
import asyncio
import functools
import itertools
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import numpy as np
from rich.console import Console
from rich.table import Table

from livecaption.errors import LivecaptionError
from livecaption.evaluation.bench import CHUNK_BYTES, CHUNK_MS
from livecaption.evaluation.clips import read_pcm
from livecaption.evaluation.command import count, reporting
from livecaption.evaluation.latency import percentile
from livecaption.evaluation.peers import BINARY, frame, raw_peer
from livecaption.evaluation.server_process import COMMAND, serving
from livecaption.evaluation.stages import STAGES
from livecaption.evaluation.usage import look

PROFILED = (sys.executable, "-m", "livecaption.evaluation.stages")
LAG_BUCKET = re.compile(r'^livecaption_event_loop_lag_seconds_bucket\{[^}]*\ble="([^"]+)"[^}]*\} (\S+)$', re.MULTILINE)
NOISE_DB = -65
"""Level of the noise between two repetitions of the recording, in dB of full scale: a quiet room."""
WARM_UP_S = 5.0
"""Time in s over which the streams begin, then until they are measured, and for which they go on afterwards."""


@dataclass(frozen=True, slots=True)
class Clients:
    """The streams as their clients saw them.

    Attributes:
        events: number of events of each type; `refused`: streams that were not accepted.
        lag_p99_ms: 99th percentile of the delay at which a message was sent.
    """

    events: Mapping[str, int]
    lag_p99_ms: float

    @property
    def is_incomplete(self) -> bool:
        """True if a stream was refused or reported an error, or a final is missing."""
        wrong = self.events.get("refused", 0) + self.events.get("error", 0)
        return bool(wrong) or self.events.get("speech_start", 0) != self.events.get("final", 0)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    cpu_s: float
    audio_s: float
    memory_bytes: int
    lags: Mapping[float, int]
    stages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one number of streams.

    Attributes:
        ms_per_s: CPU time of the server's process for a second of audio of one stream, in ms.
        stages: the same of each stage.
        memory_bytes: growth of the server's memory, without its workers, since before the first stream, for each one.
        lags: how often the loop was late by at most so many seconds.
    """

    n_streams: int
    ms_per_s: float
    memory_bytes: float
    stages: Mapping[str, float]
    lags: Mapping[float, int]
    clients: Clients


def messages_of(pcm: bytes, speech: float) -> list[bytes]:
    """Return frames of a WebSocket with the recording, and noise behind it until its share is `speech`."""
    n_noise = round(len(pcm) / 2 * (1 / speech - 1))
    noise = np.random.default_rng(0).normal(0, 32768 * 10 ** (NOISE_DB / 20), n_noise).astype("<i2").tobytes()
    audio = pcm + noise
    return [frame(BINARY, audio[at : at + CHUNK_BYTES]) for at in range(0, len(audio) - CHUNK_BYTES, CHUNK_BYTES)]


def stream(url: str, messages: Sequence[bytes], n_streams: int, duration_s: float, warm_up_s: float) -> Clients:
    """Run all streams, in a process of their own."""
    return asyncio.run(_stream(url, messages, n_streams, duration_s, warm_up_s))


async def _stream(url: str, messages: Sequence[bytes], n_streams: int, duration_s: float, warm_up_s: float) -> Clients:
    events: Counter[str] = Counter()
    lags_s: list[float] = []
    end_s = time.monotonic() + duration_s

    async def publish(number: int) -> None:
        due_s = time.monotonic() + warm_up_s * number / n_streams
        await asyncio.sleep(due_s - time.monotonic())
        try:
            async with raw_peer(url) as peer:
                await peer.send({"type": "start"})
                reading = asyncio.ensure_future(_count(peer.events(), events))
                for at in itertools.count(len(messages) * number // n_streams):
                    due_s += CHUNK_MS / 1000
                    await asyncio.sleep(due_s - time.monotonic())
                    if due_s > end_s:
                        break
                    lags_s.append(time.monotonic() - due_s)
                    await peer.send_raw(messages[at % len(messages)])
                await peer.send({"type": "stop"})
                await reading
        except ConnectionError:
            events["refused"] += 1

    await asyncio.gather(*(publish(number) for number in range(n_streams)))
    return Clients(events, 1000 * (percentile(lags_s, 99) or 0.0))


async def _count(received: AsyncIterator[Mapping[str, str]], events: Counter[str]) -> None:
    async for event in received:
        events[event["type"]] += 1


async def measure(
    recording: Path,
    n_streams: int,
    speech: float,
    duration_s: float,
    warm_up_s: float = WARM_UP_S,
    n_processes: int = 1,
) -> Cost:
    """Run a server and its streams; twice if it has one process: the second time to measure the stages.

    Args:
        recording: speech in any container.
        n_streams: the number of streams.
        speech: the share of the recording in the audio, above 0 to 1.
        duration_s: time of a measurement.
        warm_up_s: see `WARM_UP_S`.
        n_processes: processes of the server.

    Raises:
        LivecaptionError: the server received no audio.
    """
    messages = messages_of(read_pcm(recording), speech)
    with ProcessPoolExecutor(1, get_context("spawn")) as clients, TemporaryDirectory() as directory:

        async def run(command: Sequence[str], stages: Path | None = None) -> Cost:
            store = ("--store", str(Path(directory, "store.db")))
            numbers = ("--max-streams", str(n_streams), "--processes", str(n_processes))
            async with serving(*numbers, *store, command=command) as server:
                url = await server.ready()
                empty = await _look(url, stages)
                work = functools.partial(stream, url, messages, n_streams, 3 * warm_up_s + duration_s, warm_up_s)
                streams = asyncio.get_running_loop().run_in_executor(clients, work)
                await asyncio.sleep(2 * warm_up_s)
                before = await _look(url, stages)
                await asyncio.sleep(duration_s)
                after = await _look(url, stages)
                memory_bytes = (after.memory_bytes - empty.memory_bytes) / n_streams
                between = _between(before, after)
                return Cost(n_streams, memory_bytes=memory_bytes, **between, clients=await streams)

        # The clients' process is started first, so that the streams begin in time.
        await asyncio.get_running_loop().run_in_executor(clients, functools.partial(stream, "", (), 0, 0.0, 0.0))
        cost = await run(COMMAND)
        if n_processes > 1:
            return cost
        path = Path(directory, "stages")
        profiled = await run((*PROFILED, str(path)), path)
        all_s = sum(profiled.stages.values())
        stages = {stage: seconds / all_s * cost.ms_per_s for stage, seconds in profiled.stages.items()}
        return replace(cost, stages=stages)


async def _look(url: str, stages: Path | None) -> _Snapshot:
    def look_at_lags() -> str:
        with urlopen(url + "metrics") as answer:
            return str(answer.read(), "utf-8")

    stats = (await look(url, "")).stats
    lags: Counter[float] = Counter()
    for bound_s, n in LAG_BUCKET.findall(await asyncio.to_thread(look_at_lags)):
        lags[float(bound_s)] += round(float(n))
    return _Snapshot(
        stats["server"]["cpu_seconds"],
        stats["received_audio_s"],
        stats["server"]["resident_memory_bytes"],
        lags,
        json.loads(await asyncio.to_thread(stages.read_text)) if stages else {},
    )


def _between(before: _Snapshot, after: _Snapshot) -> dict[str, Any]:
    if after.audio_s == before.audio_s:
        raise LivecaptionError("the server received no audio")
    return {
        "ms_per_s": 1000 * (after.cpu_s - before.cpu_s) / (after.audio_s - before.audio_s),
        "lags": {bound_s: n - before.lags[bound_s] for bound_s, n in after.lags.items()},
        "stages": {stage: s - before.stages.get(stage, 0.0) for stage, s in after.stages.items()},
    }


def lag_percentile_s(lags: Mapping[float, int], percent: float) -> float:
    """Return the bound that the lag kept in so many percent of the looks; infinite: there was no look."""
    n_all = max(lags.values(), default=0)
    kept = (bound_s for bound_s, n in sorted(lags.items()) if n_all and n >= n_all * percent / 100)
    return next(kept, math.inf)


def table(costs: Sequence[Cost]) -> Table:
    """Make a table with a column for each number of streams."""
    shown = Table("ms of CPU for a second of a stream")
    for cost in costs:
        shown.add_column(f"{cost.n_streams} streams", justify="right")

    def add(name: str, cell: Callable[[Cost], str]) -> None:
        shown.add_row(name, *map(cell, costs))

    add("all in", lambda cost: f"{cost.ms_per_s:.2f}")
    add("memory of a stream", lambda cost: f"{cost.memory_bytes / 1024:.0f} KiB")
    for stage in STAGES if any(cost.stages for cost in costs) else ():
        add(stage, lambda cost, stage=stage: f"{cost.stages.get(stage, 0.0):.2f}")  # type: ignore[misc]
    for name, percent in (("loop late at most by, p50", 50), ("p99", 99), ("worst", 100)):
        add(name, lambda cost, percent=percent: f"{1000 * lag_percentile_s(cost.lags, percent):.0f} ms")  # type: ignore[misc]
    add("clients late, p99", lambda cost: f"{cost.clients.lag_p99_ms:.0f} ms")
    add("refused", lambda cost: str(cost.clients.events.get("refused", 0)))
    for name in ("speech_start", "final", "partial", "error"):
        add(name, lambda cost, name=name: str(cost.clients.events.get(name, 0)))  # type: ignore[misc]
    return shown


def _counts(text: str) -> list[int]:
    return [count(number) for number in text.split(",")]


def _percent(text: str) -> float:
    percent = float(text)
    if not 0 < percent <= 100:
        raise argparse.ArgumentTypeError("must be above 0, and at most 100")
    return percent


@reporting
def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code: 1 if a stream was refused or a final is missing."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.loop_cost", description=__doc__.split("\n")[0])
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="speech in any container")
    parser.add_argument(
        "--streams", type=_counts, default="50,150", metavar="N,N", help="numbers of streams (default: %(default)s)"
    )
    parser.add_argument("--speech", type=_percent, default=70, metavar="PERCENT", help="speech (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="to measure (default: %(default)s)")
    parser.add_argument("--processes", type=count, default=1, metavar="N", help="of the server (default: %(default)s)")
    options = parser.parse_args(arguments)
    costs = [
        asyncio.run(
            measure(options.recording, n_streams, options.speech / 100, options.seconds, n_processes=options.processes)
        )
        for n_streams in options.streams
    ]
    Console().print(table(costs))
    return 1 if any(cost.clients.is_incomplete for cost in costs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
