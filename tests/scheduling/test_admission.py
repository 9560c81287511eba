"""How many streams are taken: as many as get their finals in time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.scheduling.admission import BYTES_PER_STREAM, RESERVE_BYTES, Load, UtteranceRate, stream_limit
from livecaption.scheduling.request import Request, RequestId, SessionId, Window
from tests.support.simulation import SILENCE

PLENTY = 2**40
FRESH = Load(
    final_s=None, finals_measured=False, utterances_per_s=0.2, n_workers=1, oldest_final_s=0.0, free_bytes=PLENTY
)
MEASURED = replace(FRESH, final_s=0.05, finals_measured=True)


def admitted_of_a_burst(n_knocking: int, load: Load) -> int:
    n = 0
    for _ in range(n_knocking):
        n += n < stream_limit(n, n, load)
    return n


def test_a_burst_on_a_fresh_server_is_not_all_let_in() -> None:
    """What the smallest machine, of two cores, holds with the default model is: 48 and more, but not 110."""
    assert 48 <= admitted_of_a_burst(1000, replace(FRESH, n_workers=2)) < 110


def test_a_burst_is_let_in_up_to_what_was_measured() -> None:
    assert admitted_of_a_burst(1000, replace(MEASURED, final_s=0.005)) == 650
    assert admitted_of_a_burst(1000, replace(MEASURED, final_s=0.5)) == 6
    assert admitted_of_a_burst(1000, replace(MEASURED, final_s=0.5, n_workers=2)) == 13


def test_cheap_partials_let_no_more_in_before_finals_were_measured_but_dear_ones_let_in_fewer() -> None:
    fresh = admitted_of_a_burst(1000, FRESH)
    assert admitted_of_a_burst(1000, replace(FRESH, final_s=0.01)) == fresh
    assert admitted_of_a_burst(1000, replace(FRESH, final_s=0.5)) == 6


def test_newcomers_count_as_speakers_without_pause_until_they_have_shown_otherwise() -> None:
    quiet = replace(MEASURED, utterances_per_s=0.05)
    assert stream_limit(40, 40, quiet) == 65
    assert stream_limit(40, 0, quiet) == 40 + 55


def test_streams_that_speak_in_short_utterances_leave_room_for_fewer() -> None:
    assert stream_limit(10, 0, replace(MEASURED, utterances_per_s=0.5)) == 26


def test_nobody_is_let_in_while_finals_are_late() -> None:
    late = replace(MEASURED, oldest_final_s=2.1)
    assert stream_limit(5, 0, late) == 5
    assert stream_limit(5, 0, replace(late, oldest_final_s=1.9)) > 5


def test_one_stream_is_let_in_whatever_it_costs() -> None:
    """One that is served slowly hurts nobody else."""
    assert stream_limit(0, 0, Load(20.0, True, 0.2, 0, 99.0, 0)) == 1


def test_memory_limits_too_and_is_not_promised_twice() -> None:
    room_for_ten = replace(MEASURED, final_s=0.0001, free_bytes=RESERVE_BYTES + 10 * BYTES_PER_STREAM)
    assert stream_limit(20, 0, room_for_ten) == 30
    assert stream_limit(20, 4, room_for_ten) == 26


@given(
    n=st.integers(0, 500),
    final_s=st.floats(0.001, 10),
    rate=st.floats(0, 2),
    more_s=st.floats(0, 10),
    new=st.floats(0, 1),
)
def test_a_dearer_final_never_lets_more_in(n: int, final_s: float, rate: float, more_s: float, new: float) -> None:
    load = replace(MEASURED, final_s=final_s, utterances_per_s=rate)
    limit = stream_limit(n, int(n * new), load)
    assert 1 <= stream_limit(n, int(n * new), replace(load, final_s=final_s + more_s)) <= limit


def final(session: int, utterance: int) -> Request:
    return Request(RequestId(1), SessionId(str(session)), utterance, 0.0, Window(SILENCE))


def test_the_rate_of_utterances_is_of_one_stream_and_of_the_last_half_minute() -> None:
    rate = UtteranceRate()
    for n in range(10):
        rate.joined(SessionId(str(n)), 0.0)
    for second in range(120):
        rate.asked(final(second % 10, second), float(second))
    assert rate.per_s(120.0) == pytest.approx(0.1, rel=0.25)
    assert rate.per_s(300.0) < 0.05


def test_an_utterance_counts_once_however_often_its_final_is_asked() -> None:
    once, often = UtteranceRate(), UtteranceRate()
    for rate, n_times in ((once, 1), (often, 5)):
        rate.joined(SessionId("0"), 0.0)
        for utterance in range(10):
            for _ in range(n_times):
                rate.asked(final(0, utterance), 2.0 * utterance)
    assert once.per_s(20.0) == often.per_s(20.0)


def test_partials_are_no_utterances() -> None:
    rate = UtteranceRate()
    rate.joined(SessionId("0"), 0.0)
    before = rate.per_s(5.0)
    rate.asked(Request(RequestId(1), SessionId("0"), 0, 0.0, Window(SILENCE, is_final=False)), 5.0)
    assert rate.per_s(5.0) == before


def test_streams_that_came_together_do_not_seem_quiet_before_their_first_utterances_end() -> None:
    rate = UtteranceRate()
    for n in range(48):
        rate.joined(SessionId(str(n)), 0.0)
    for n in range(3 * 48):
        rate.asked(final(n % 48, n // 48), 4.0 + 11.0 * n / (3 * 48))
    assert rate.per_s(15.0) > 0.15


def test_a_stream_that_left_counts_no_more() -> None:
    rate = UtteranceRate()
    for n in range(10):
        rate.joined(SessionId(str(n)), 0.0)
    for n in range(10):
        rate.left(SessionId(str(n)), 60.0)
    assert rate.per_s(600.0) == pytest.approx(0.2)
