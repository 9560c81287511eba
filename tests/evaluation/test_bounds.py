"""The figures of an attack keep its bounds, or each bound that is exceeded is named."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from livecaption.evaluation.bounds import Figures, Row, broken_bounds, delayed, table, within
from livecaption.evaluation.siege import WIDTH

QUIET = Figures(pong_median=1.0, pong_p95=2.0, pong_worst=5.0, finals_p95=500.0)
GOOD = Row(
    attack="claims",
    alone=QUIET,
    beside=replace(QUIET, pong_median=19.0, pong_worst=300.0, finals_p95=690.0),
    hold_ms=4.9,
    collector_ms=99.0,
    rss_before_bytes=70_000_000,
    rss_peak_bytes=390_000_000,
    ready_s=0.9,
    n_log_lines=49,
    n_sessions=10,
    lives=True,
    outcomes={},
    faults=(),
)


def test_a_row_within_its_bounds_is_good() -> None:
    assert broken_bounds(GOOD) == []


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"lives": False}, "the server has ended"),
        ({"beside": replace(GOOD.beside, pong_median=21.0)}, "pong median 21 ms"),
        ({"beside": replace(GOOD.beside, pong_median=None)}, "pong median - ms"),
        ({"beside": replace(GOOD.beside, finals_p95=None)}, "speech without a final"),
        ({"beside": replace(GOOD.beside, finals_p95=701.0)}, "finals p95 701 ms, above 700"),
        ({"hold_ms": 5.1}, "the loop was held for 5.1 ms"),
        ({"collector_ms": 101.0}, "the garbage collector took 101 ms"),
        ({"rss_peak_bytes": 401_000_000}, "401 MB"),
        ({"ready_s": 1.1}, "ready after 1.1 s"),
        ({"ready_s": None}, "a new stream was never ready"),
        ({"n_log_lines": 51}, "51 lines in the log"),
        ({"faults": ("logged: Traceback",)}, "logged: Traceback"),
    ],
)
def test_a_row_that_breaks_a_bound_names_it(change: dict[str, Any], broken: str) -> None:
    assert broken_bounds(replace(GOOD, **change)) == [broken]


def test_without_a_final_before_the_attack_only_the_slack_is_allowed() -> None:
    row = replace(GOOD, alone=replace(QUIET, finals_p95=None))
    assert broken_bounds(row) == ["finals p95 690 ms, above 100"]


def test_figures_are_of_what_falls_into_the_spans() -> None:
    pongs = [(float(at_s), float(at_s)) for at_s in range(100)]
    pongs_ms = within(pongs, [(0.0, 9.0), (50.0, 59.0)])
    figures = Figures.of(pongs_ms, [10 * ms for ms in pongs_ms])
    assert figures == Figures(pong_median=9.0, pong_p95=58.0, pong_worst=59.0, finals_p95=580.0)
    assert within(pongs, [(200.0, math.inf)]) == []
    assert Figures.of([], []) == Figures(None, None, None, None)


def test_an_attack_answers_for_the_finals_of_its_speech_and_the_next_one() -> None:
    """It does so whenever they come. Without a next one a final is missing, because the speech went on."""
    finals = [(1.0, 500.0), (2.0, 4000.0), (4.0, 600.0), (7.0, 700.0), (9.0, 800.0)]
    assert delayed(finals, (2.0, 5.0)) == [4000.0, 600.0, 700.0]
    assert delayed(finals, (7.5, 8.0)) == [800.0]
    assert delayed(finals, (7.5, 9.0)) == []


def test_the_table_shows_both_sides_and_how_many_bounds_are_broken() -> None:
    console = Console(width=WIDTH, file=io.StringIO(), record=True)
    console.print(table([GOOD, replace(GOOD, attack="resets", ready_s=None, lives=False)]))
    good, bad = (line for line in console.export_text().splitlines() if "5.0" in line)
    assert [cell.strip() for cell in good.split("│")[1:-1]] == [
        *("claims", "1.0 2.0 5.0", "19 2.0 300", "500", "690", "4.9", "99", "0.90", "70", "390", "49", "10", "")
    ]
    assert bad.split("│")[-2].strip() == "2"
