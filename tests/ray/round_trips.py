"""Measure batches there and their answers back, by Ray and by a pipe in turn. Each end does the same work for both.

    RAY_ADDRESS=HOST:PORT python -m tests.ray.round_trips

It prints one JSON object: for each size, the medians and the 95th percentiles in ms.
"""

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NoReturn

import numpy as np

import livecaption
from livecaption.engine import remote
from livecaption.errors import LivecaptionError
from livecaption.ipc import lifeline
from livecaption.ipc.config import EngineConfig
from livecaption.ipc.messages import Transcribe, decode, encode
from livecaption.recognition import TranscriptionOptions, Window

SIZES = {"320 KB": (1, 10, 60), "5 MB": (8, 20, 15)}
"""Windows, the duration of each in s, and round trips."""
N_WARM_UP = 3


def answer(pipe: Connection) -> None:
    """Run at the other end of the pipe."""
    host = remote.Host(EngineConfig(engine="scripted"))
    host.find(livecaption.__version__)
    host.load()
    lifeline.disarm_dead_man()  # nobody sends beats
    while True:
        pipe.send_bytes(host.transcribe(pipe.recv_bytes()))


def windows(n: int, duration_s: int) -> tuple[Window, ...]:
    noise = np.random.default_rng(0).normal(0.0, 0.1, (n, 16_000 * duration_s)).astype(np.float32)
    return tuple(Window(samples, TranscriptionOptions(), is_final=True) for samples in noise)


def main() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=answer, args=(theirs,), daemon=True).start()
    engine = remote.connect(EngineConfig(engine="scripted", device="ray:0.25"), 60.0, give_up)()

    def by_ray(batch: tuple[Window, ...]) -> None:
        engine.prepare(batch)()()

    def by_pipe(batch: tuple[Window, ...]) -> None:
        ours.send_bytes(encode(Transcribe(0, 0.0, batch)))
        decode(ours.recv_bytes())

    measured: dict[str, dict[str, list[float]]] = {}
    for name, (n, duration_s, times) in SIZES.items():
        batch = windows(n, duration_s)
        ways: dict[str, Callable[[tuple[Window, ...]], None]] = {"ray": by_ray, "pipe": by_pipe}
        took_ms: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(N_WARM_UP + times):
            for way, go in ways.items():
                began_s = time.perf_counter()
                go(batch)
                took_ms[way].append(1000 * (time.perf_counter() - began_s))
        measured[name] = {way: summary(each[N_WARM_UP:]) for way, each in took_ms.items()}
    print(json.dumps(measured), flush=True)
    os._exit(0)  # the actor ends with this process


def summary(times_ms: list[float]) -> list[float]:
    return [round(statistics.median(times_ms), 1), round(statistics.quantiles(times_ms, n=20)[-1], 1)]


def give_up(error: LivecaptionError) -> NoReturn:
    print(error.message)
    os._exit(1)


if __name__ == "__main__":
    main()
