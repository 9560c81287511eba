"""Streams are admitted as long as all get their finals in time and their partials often enough."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.recognition import RequestId, SessionId, Window
from livecaption.scheduling import admission
from livecaption.scheduling.admission import (
    BYTES_PER_STREAM,
    RESERVE_BYTES,
    Demand,
    Load,
)
from livecaption.scheduling.config import AdmissionConfig
from livecaption.scheduling.load_control import RequestCosts
from livecaption.scheduling.request import Request
from tests.support.cases import for_each
from tests.support.load import FRESH, LOADING
from tests.support.simulation import SILENCE

FINALS_ALONE = replace(FRESH, costs=RequestCosts(0.05, 1e-9))
judge = partial(admission.stream_limit, config=AdmissionConfig())


def stream_limit(n_streams: int, n_new: int, load: Load) -> int:
    return judge(n_streams, n_new, load).n


def admitted_of_a_burst(n_knocking: int, load: Load) -> int:
    n = 0
    for _ in range(n_knocking):
        n += n < stream_limit(n, n, load)
    return n


def test_one_stream_is_admitted_before_a_worker_was_ready() -> None:
    """The registry admits none then. So this is what the figures show."""
    assert stream_limit(0, 0, LOADING) == 1
    assert stream_limit(7, 7, LOADING) == 7


def test_a_burst_is_admitted_up_to_what_was_measured() -> None:
    assert admitted_of_a_burst(1000, FRESH) == 19
    assert admitted_of_a_burst(1000, replace(FRESH, n_workers=2)) == 38
    assert admitted_of_a_burst(1000, replace(FRESH, costs=RequestCosts(0.5, 0.6))) == 1


def test_streams_that_want_finals_alone_are_held_by_those() -> None:
    assert admitted_of_a_burst(1000, FINALS_ALONE) == 65
    assert admitted_of_a_burst(1000, replace(FINALS_ALONE, n_workers=2)) == 130


def test_newcomers_count_as_publishers_without_pause_until_they_have_shown_otherwise() -> None:
    quiet = replace(FRESH, utterances_per_s=0.1, speaking=0.5)
    assert stream_limit(10, 10, quiet) == 19
    assert stream_limit(10, 0, quiet) == 10 + 14


def test_streams_that_speak_in_short_utterances_leave_room_for_fewer() -> None:
    assert stream_limit(10, 0, replace(FINALS_ALONE, utterances_per_s=0.5)) == 26


def test_no_stream_is_admitted_while_partials_pause() -> None:
    assert stream_limit(5, 0, replace(FRESH, partials_paused=True)) == 5


def test_no_stream_is_admitted_while_finals_are_late() -> None:
    late = replace(FRESH, oldest_final_s=2.1)
    assert stream_limit(5, 0, late) == 5
    assert stream_limit(5, 0, replace(late, oldest_final_s=1.9)) > 5


def test_one_stream_is_admitted_at_any_cost() -> None:
    """One that is served slowly hurts nobody else."""
    hopeless = replace(FRESH, costs=RequestCosts(20.0, 20.0), n_workers=0, free_bytes=0)
    assert stream_limit(0, 0, hopeless) == stream_limit(0, 0, replace(hopeless, oldest_final_s=99.0)) == 1


def test_memory_limits_too_and_is_not_promised_twice() -> None:
    room_for_ten = replace(FRESH, costs=RequestCosts(0.0001, 1e-9), free_bytes=RESERVE_BYTES + 10 * BYTES_PER_STREAM)
    assert stream_limit(20, 0, room_for_ten) == 30
    assert stream_limit(20, 4, room_for_ten) == 26


@for_each(
    ("load", "reason"),
    [
        (LOADING, "unmeasured"),
        (FRESH, "measured"),
        (replace(FRESH, partials_paused=True), "late"),
        (replace(FRESH, oldest_final_s=2.1), "late"),
        (replace(FRESH, free_bytes=RESERVE_BYTES), "memory"),
    ],
)
def test_the_limit_names_what_decides_it(load: Load, reason: str) -> None:
    assert judge(3, 0, load).reason == reason


@given(
    n=st.integers(0, 500),
    final_s=st.floats(0.001, 10),
    partial_s=st.floats(0.001, 10),
    speaking=st.floats(0, 1),
    rate=st.floats(0, 2),
    more_s=st.floats(0, 10),
    new=st.floats(0, 1),
)
def test_costlier_work_never_admits_more(
    n: int, final_s: float, partial_s: float, speaking: float, rate: float, more_s: float, new: float
) -> None:
    load = replace(FRESH, costs=RequestCosts(final_s, partial_s), speaking=speaking, utterances_per_s=rate)
    limit = stream_limit(n, int(n * new), load)
    for costlier in (RequestCosts(final_s + more_s, partial_s), RequestCosts(final_s, partial_s + more_s)):
        assert 1 <= stream_limit(n, int(n * new), replace(load, costs=costlier)) <= limit


def final(session: int, utterance: int) -> Request:
    return Request(RequestId(1), SessionId(str(session)), utterance, 0.0, Window(SILENCE))


def test_the_rate_of_utterances_is_of_one_stream_and_of_the_last_half_minute() -> None:
    demand = Demand()
    for n in range(10):
        demand.add_stream(SessionId(str(n)), 0.0)
    for second in range(120):
        demand.record_request(final(second % 10, second), float(second))
    assert demand.utterances_per_s(120.0) == pytest.approx(0.1, rel=0.25)
    assert demand.utterances_per_s(300.0) < 0.05


def test_an_utterance_counts_once_however_often_its_final_is_asked() -> None:
    once, often = Demand(), Demand()
    for demand, n_times in ((once, 1), (often, 5)):
        demand.add_stream(SessionId("0"), 0.0)
        for utterance in range(10):
            for _ in range(n_times):
                demand.record_request(final(0, utterance), 2.0 * utterance)
    assert once.utterances_per_s(20.0) == often.utterances_per_s(20.0)


def test_partials_are_no_utterances() -> None:
    demand = Demand()
    demand.add_stream(SessionId("0"), 0.0)
    before = demand.utterances_per_s(5.0)
    demand.record_request(Request(RequestId(1), SessionId("0"), 0, 0.0, Window(SILENCE, is_final=False)), 5.0)
    assert demand.utterances_per_s(5.0) == before


def test_streams_that_came_together_do_not_seem_quiet_before_their_first_utterances_end() -> None:
    demand = Demand()
    for n in range(48):
        demand.add_stream(SessionId(str(n)), 0.0)
    for n in range(3 * 48):
        demand.record_request(final(n % 48, n // 48), 4.0 + 11.0 * n / (3 * 48))
    assert demand.utterances_per_s(15.0) > 0.15


def test_a_stream_that_left_counts_no_more() -> None:
    demand = Demand()
    for n in range(10):
        demand.add_stream(SessionId(str(n)), 0.0)
    for n in range(10):
        demand.remove_stream(SessionId(str(n)), 60.0)
    assert demand.utterances_per_s(600.0) == pytest.approx(0.2)


def speak_half_the_time(*, partials: bool) -> Demand:
    """Ten streams, each 3 s of every 6."""
    demand = Demand()
    window = Window(np.zeros(3 * 16_000, np.float32))
    for n in range(10):
        demand.add_stream(SessionId(str(n)), 0.0)
    for second in range(240):
        for n in range(second % 6, 10, 6):
            session = SessionId(str(n))
            if partials:
                demand.record_request(
                    Request(RequestId(1), session, second, 0.0, replace(window, is_final=False)), second
                )
            demand.record_request(Request(RequestId(2), session, second, 0.0, window), second)
    return demand


def test_a_stream_speaks_while_its_utterances_last() -> None:
    assert speak_half_the_time(partials=True).speaking(240.0) == pytest.approx(0.5, rel=0.25)


def test_a_stream_that_wants_finals_alone_takes_nothing_for_partials() -> None:
    demand = speak_half_the_time(partials=False)
    assert demand.speaking(240.0) < 0.2
    assert demand.utterances_per_s(240.0) == pytest.approx(1 / 6, rel=0.25)


def test_streams_without_an_utterance_yet_count_as_speaking_all_the_time() -> None:
    assert Demand().speaking(0.0) == 1.0
