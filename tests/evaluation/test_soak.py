"""Servers that are ended by any signal at any moment leave nothing behind and lose nothing."""

import asyncio
import io
import random
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from rich.console import Console

from livecaption.client import transcribe
from livecaption.evaluation import soak
from livecaption.evaluation.soak import Cycle, random_end, run_cycle, table
from livecaption.events import Event, Final
from tests.support.streaming import jfk_pcm

N_CYCLES = 4
AT_A_TIME = 2


@pytest.mark.processes
@pytest.mark.timeout(240)
async def test_however_a_server_ends_nothing_is_left_and_no_final_is_lost() -> None:
    """Row 61 of the fault matrix in a short form; the program has the long one."""
    chance = random.Random(20)
    for _ in range(0, N_CYCLES, AT_A_TIME):
        together = [run_cycle(jfk_pcm(), *random_end(chance)) for _ in range(AT_A_TIME)]
        for cycle in await asyncio.gather(*together):
            assert cycle.faults == (), cycle


@pytest.mark.processes
async def test_a_final_that_is_lost_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client ignores finals here. Otherwise the soak could not fail."""

    ignored = asyncio.Event()

    async def deaf(url: str, chunks: AsyncIterator[bytes], receive: Callable[[Event], None]) -> None:
        await transcribe(url, chunks, lambda event: ignored.set() if isinstance(event, Final) else receive(event))

    monkeypatch.setattr(soak, "transcribe", deaf)
    cycle = await run_cycle(jfk_pcm(), signal.SIGTERM, ignored.wait())
    assert cycle.phase == "streaming"
    [fault] = cycle.faults
    assert fault in ("1 finals lost", "2 finals lost"), "the number of utterances depends on partials"


def test_the_table_counts_by_signal_and_phase() -> None:
    cycles = [
        Cycle(signal.SIGTERM, "streaming", 0.1, 3, ()),
        Cycle(signal.SIGTERM, "streaming", 0.3, 2, ("1 finals lost", "port 1 is taken")),
        Cycle(signal.SIGKILL, "loading", 0.01, 0, ()),
    ]
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table(cycles))
    rows = [line.split() for line in console.export_text().splitlines() if "SIG" in line]
    cells = [[cell for cell in row if cell != "│"] for row in rows]
    assert cells == [["SIGTERM", "streaming", "2", "0.300", "5", "2"], ["SIGKILL", "loading", "1", "0.010", "0", "0"]]
