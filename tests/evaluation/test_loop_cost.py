"""The cost of a stream is measured by stage, with the lag of the loop. A missing final is reported."""

import io
import math

import pytest
from rich.console import Console

from livecaption.evaluation.loop_cost import Clients, Cost, lag_percentile_s, measure, messages_of, table
from livecaption.evaluation.stages import STAGES
from tests.support.streaming import JFK


def test_noise_follows_the_recording_until_it_has_its_share() -> None:
    messages = messages_of(b"\1\2" * 16_000, 0.2)
    assert len(messages) == pytest.approx(50, abs=1)
    spoken = [message for message in messages if b"\1\2" * 100 in message]
    assert len(spoken) == 10


@pytest.mark.parametrize(("percent", "expected_s"), [(50, 0.001), (99, 0.02), (100, math.inf)])
def test_a_percentile_of_the_lag_is_a_bound_that_it_kept(percent: float, expected_s: float) -> None:
    assert lag_percentile_s({0.001: 90, 0.02: 99, math.inf: 100}, percent) == expected_s


def test_without_a_look_at_the_loop_its_lag_is_not_known() -> None:
    assert lag_percentile_s({0.001: 0, math.inf: 0}, 99) == math.inf


@pytest.mark.parametrize(
    ("events", "is_incomplete"),
    [
        ({"speech_start": 2, "final": 2, "partial": 9}, False),
        ({"speech_start": 2, "final": 1}, True),
        ({"refused": 1}, True),
        ({"error": 1}, True),
    ],
)
def test_a_refusal_an_error_and_a_missing_final_are_noticed(events: dict[str, int], is_incomplete: bool) -> None:
    assert Clients(events, 0.0).is_incomplete == is_incomplete


@pytest.mark.processes
async def test_each_stage_of_a_stream_has_its_share_of_the_cost() -> None:
    cost = await measure(JFK, n_streams=4, speech=1.0, duration_s=0.8, warm_up_s=0.4)
    assert cost.stages.keys() == STAGES.keys()
    assert sum(cost.stages.values()) == pytest.approx(cost.ms_per_s)
    assert not cost.clients.is_incomplete
    assert cost.clients.events["end"] == 4
    assert lag_percentile_s(cost.lags, 100) > 0


@pytest.mark.processes
async def test_of_several_processes_the_cost_is_that_of_all_without_stages() -> None:
    cost = await measure(JFK, n_streams=4, speech=1.0, duration_s=0.8, warm_up_s=0.4, n_processes=2)
    assert cost.stages == {}
    assert cost.ms_per_s > 0
    assert cost.memory_bytes > 0
    assert not cost.clients.is_incomplete
    assert cost.clients.events["end"] == 4
    assert lag_percentile_s(cost.lags, 100) > 0


def test_the_table_has_a_column_for_each_number_of_streams() -> None:
    costs = [Cost(n, n / 10, 2048.0, {"socket": n / 100}, {0.005: 7}, Clients({"final": n}, 2.0)) for n in (50, 70)]
    console = Console(file=io.StringIO(), width=120)
    console.print(table(costs))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("50 streams", "70 streams", "5.00", "7.00", "0.50", "0.70", "5 ms", "2 ms", "2 KiB"):
        assert expected in shown
