"""The measurement of an audience counts every reader, and detects missing events."""

import io

import pytest
from rich.console import Console

from livecaption.errors import LivecaptionError
from livecaption.evaluation.audience import Figures, measure, table
from livecaption.evaluation.server_process import serving
from tests.support.streaming import jfk_pcm

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("websocket", [False, True])
async def test_every_reader_gets_every_final_of_a_publisher(websocket: bool) -> None:
    async with serving() as server:
        figures = await measure([server], jfk_pcm()[: 4 * 32_000], 20, websocket=websocket)
    assert figures.delays_s
    assert min(figures.delays_s) > 0
    # A slow reader may skip partials, but not all of them.
    assert figures.n_missed < len(figures.delays_s) * 20 / 2


async def test_an_audience_that_received_nothing_has_no_figures() -> None:
    async with serving() as server:
        with pytest.raises(LivecaptionError, match="no reader received an event"):
            await measure([server], bytes(3_200), 2)


def test_the_table_shows_the_ranks() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(table(Figures([i / 1000 for i in range(1, 101)], 3, 2048.0), 7))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("7 readers, 100 events", "51 ms", "96 ms", "100 ms", "2 KiB"):
        assert expected in shown
