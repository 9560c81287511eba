"""Measure how long finals take to be stored, in a file of SQLite and in a database of PostgreSQL.

    python -m livecaption.evaluation.storing postgresql://... [--streams N] [--turns N] [--duration S]

Each stream appends a final every 0.5 s. The two stores take turns, so that other work of the machine meets both. The
database keeps the sessions of the measurement; the file is deleted.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from livecaption.evaluation.command import count, reporting
from livecaption.events import Final
from livecaption.recognition import SessionId
from livecaption.store.config import StoreConfig
from livecaption.store.opening import store_of
from livecaption.store.rows import NewSession
from livecaption.store.store import Store

INTERVAL_S = 0.5
"""Time between two finals of a stream. People make one in about five seconds."""
WORDS = tuple(map("word{}".format, range(1000)))
"""People use as many in a long speech. The index of words is larger with more."""
N_WORDS = 12  # of a final
LAST_WRITTEN_WITHIN_S = 30.0


async def measure(path: str, n_streams: int, duration_s: float) -> list[float]:
    """Append finals of so many streams to a store for this time. Return how long each took to be written, in s."""
    store = store_of(StoreConfig(path))
    assert store is not None  # the path names one
    await store.open()
    try:
        streams = await asyncio.gather(*(_stream(store, duration_s) for _ in range(n_streams)))
        return [took_s for times_s in streams for took_s in times_s]
    finally:
        await store.close()


async def _stream(store: Store, duration_s: float) -> list[float]:
    session_id = SessionId(secrets.token_urlsafe(16))
    took_s: list[float] = []
    n_finals = round(duration_s / INTERVAL_S)
    all_written = asyncio.Event()

    def written(begun_s: float) -> None:
        took_s.append(time.monotonic() - begun_s)
        if len(took_s) == n_finals:
            all_written.set()

    await asyncio.sleep(random.uniform(0, INTERVAL_S))
    store.begin(NewSession(session_id, "", "en", round(time.time() * 1000)), lambda: None)
    for n in range(n_finals):
        begun_s = time.monotonic()
        text = " ".join(random.choices(WORDS, k=N_WORDS))
        end_ms = round(1000 * INTERVAL_S * (n + 1))
        final = Final(n, text, end_ms - 400, end_ms, "en", 0, 0)
        store.append(session_id, final, n + 1, end_ms, lambda begun_s=begun_s: written(begun_s))  # type: ignore[misc]
        await asyncio.sleep(INTERVAL_S)
    async with asyncio.timeout(LAST_WRITTEN_WITHIN_S):
        await all_written.wait()
    return took_s


def table(times_s: Mapping[str, Sequence[float]], n_streams: int) -> Table:
    """Make a table of the times of each store, and of their ratio."""
    n_finals = min(map(len, times_s.values()))
    shown = Table(title=f"{n_streams} streams, {n_finals} finals and more in each store")
    for heading in ("", "median", "p95", "worst"):
        shown.add_column(heading, justify="right")
    ranks = {name: _ranks(each) for name, each in times_s.items()}
    for name, figures in ranks.items():
        shown.add_row(name, *(f"{1000 * figure_s:.1f} ms" for figure_s in figures))
    shown.add_row("ratio", *(f"{theirs / ours:.1f}" for ours, theirs in zip(*ranks.values(), strict=True)))
    return shown


def _ranks(times_s: Sequence[float]) -> tuple[float, float, float]:
    percentiles = quantiles(times_s, n=20, method="inclusive")
    return percentiles[9], percentiles[18], max(times_s)


async def _main(options: argparse.Namespace) -> None:
    times_s: dict[str, list[float]] = {"SQLite": [], "PostgreSQL": []}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(options.turns):
            for name, path in (("SQLite", str(Path(directory) / "transcripts.db")), ("PostgreSQL", options.store)):
                times_s[name] += await measure(path, options.streams, options.duration)
    Console().print(table(times_s, options.streams))


@reporting
def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.storing", description=__doc__)
    parser.add_argument("store", metavar="ADDRESS", help="a database of PostgreSQL")
    parser.add_argument("--streams", type=count, default=50, metavar="N")
    parser.add_argument("--turns", type=count, default=4, metavar="N", help="of each store (default: 4)")
    parser.add_argument("--duration", type=float, default=10.0, metavar="S", help="of a turn (default: 10)")
    asyncio.run(_main(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
