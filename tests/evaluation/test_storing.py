"""The measurement of stores counts each final once it is written, and compares the two."""

import io

import pytest
from rich.console import Console

from livecaption.evaluation.storing import measure, table
from tests.store.conftest import place  # noqa: F401
from tests.support.stores import Place

pytestmark = pytest.mark.processes


async def test_each_final_is_counted_once_it_is_written(place: Place) -> None:  # noqa: F811
    times_s = await measure(place.path, 3, 1.0)
    assert len(times_s) == 6
    assert min(times_s) > 0


def test_the_table_has_the_ratio_of_each_rank() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(table({"one": [i / 1000 for i in range(1, 101)], "other": [i / 500 for i in range(1, 101)]}, 7))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("7 streams, 100 finals", "50.5 ms", "190.1 ms", "100.0 ms", "200.0 ms", "2.0"):
        assert expected in shown
