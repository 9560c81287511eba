"""Servers fail at random moments: each utterance has one final, for the publisher, the readers and in the store.

LIVECAPTION_TEST_CYCLES is the number of failures of each service, and LIVECAPTION_TEST_SEED chooses them. 200 of both
take an hour and a half.
"""

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

import pytest

from tests.support.cycles import EARLY, Cells, Processes, Talk, run_cycle
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.proxies import before_cells, free_ports, unchecked
from tests.support.stored import stored_texts

N_CYCLES = int(os.environ.get("LIVECAPTION_TEST_CYCLES", "1"))
SEED = int(os.environ.get("LIVECAPTION_TEST_SEED", "1"))

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120 + 120 * N_CYCLES)]


class Report:
    """The faults so far, and the times until publishers were connected again."""

    def __init__(self) -> None:
        self._times_s: defaultdict[str, list[float]] = defaultdict(list)
        self._n_cycles: defaultdict[str, int] = defaultdict(int)

    def add(self, fault: str, times_s: list[float]) -> None:
        self._n_cycles[fault] += 1
        self._times_s[fault] += times_s

    def __str__(self) -> str:
        return "\n".join(
            f"{fault}: {n} times, {len(self._times_s[fault])} publishers connected again{self._percentile(fault)}"
            for fault, n in sorted(self._n_cycles.items())
        )

    def _percentile(self, fault: str) -> str:
        times_s = self._times_s[fault]
        return f", 95 % within {quantiles(times_s, n=20)[-1]:.2f} s" if len(times_s) > 1 else ""


@asynccontextmanager
async def two_cells(cluster: Cluster, directory: Path) -> AsyncIterator[tuple[Cells, str]]:
    """Run two servers with one database behind HAProxy. Yield them and its address. Nothing may be left of them."""
    async with AsyncExitStack() as stack:
        cells = Cells(stack, cluster.empty_database(), free_ports(2), "--trusted-proxy=127.0.0.1")
        await cells.start()
        places = [urlsplit(await server.ready()).netloc for server in cells.servers]
        yield cells, await stack.enter_async_context(before_cells("haproxy", directory, places))
        await cells.close()


async def test_two_servers_with_one_database_lose_and_double_no_word(cluster: Cluster, tmp_path: Path) -> None:
    chance, report = random.Random(SEED), Report()
    async with two_cells(cluster, tmp_path) as (cells, url):
        for _ in range(N_CYCLES):
            report.add(*await run_cycle(cells, url, unchecked(), partial(stored_texts, cluster), chance))
            print(report)


async def test_a_rolling_restart_under_24_streams_costs_no_word_and_ends_no_session(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with two_cells(cluster, tmp_path) as (cells, url):
        restarted = asyncio.Event()
        talks = [Talk(url, unchecked(), 1, restarted) for _ in range(24)]
        running = [asyncio.ensure_future(talk.run()) for talk in talks]
        await eventually(lambda: all(talk.events for talk in talks), 60)
        await cells.restart_all()
        restarted.set()
        await asyncio.gather(*running)
        for talk in talks:
            talk.check(may_be_early=any(EARLY in server.output for server in cells.all))
            assert stored_texts(cluster, talk.session) == talk.texts
        away_s = [
            back_s - lost_s for talk in talks for lost_s, back_s in zip(talk.lost_s, talk.reconnected_s, strict=True)
        ]
        assert len(away_s) >= len(talks)
        print(f"of {len(away_s)} publishers 95 % were back within {quantiles(away_s, n=20)[-1]:.2f} s")


async def test_two_processes_of_one_server_lose_and_double_no_word(tmp_path: Path) -> None:
    file = tmp_path / "transcripts.db"
    stored = partial(stored_texts, file)
    chance, report = random.Random(SEED), Report()
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        processes = Processes(stack, str(file), port, 2)
        await processes.start()
        for _ in range(N_CYCLES):
            report.add(*await run_cycle(processes, f"http://127.0.0.1:{port}/", None, stored, chance))
            print(report)
        await processes.close()
