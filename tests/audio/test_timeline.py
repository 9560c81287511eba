"""Audio is placed by its time stamps, as far as they make sense."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.timeline import MAX_GAP_S, SURE_GAP_S, TOLERANCE_S, Timeline
from tests.support.cases import for_each

SAMPLES = np.ones(320, np.float32)
FRAME_S = 0.02


def gaps(stamps: list[float | None], origin_s: float | None = 0.0) -> list[float]:
    """Place frames of 20 ms with these time stamps; return the silence before each."""
    timeline = Timeline(origin_s)
    placed = [each for at_s in stamps for each in timeline.place(SAMPLES, at_s, FRAME_S)] + timeline.flush()
    assert len(placed) == len(stamps)
    return [round(gap_s, 6) for gap_s, _ in placed]


def in_line(begin_s: float, n_frames: int) -> list[float | None]:
    return [begin_s + number * FRAME_S for number in range(n_frames)]


def test_frames_in_line_have_no_silence_between_them() -> None:
    assert gaps(in_line(0.0, 5)) == [0.0] * 5


def test_audio_that_begins_late_has_silence_before_it() -> None:
    assert gaps(in_line(4.9, 3)) == [4.9, 0.0, 0.0]


def test_without_an_origin_the_first_time_stamp_is_the_beginning() -> None:
    assert gaps(in_line(93_600.0, 3), origin_s=None) == [0.0] * 3


@for_each("gap_s", [TOLERANCE_S + 0.01, 0.38, SURE_GAP_S + 0.5, 10.0, MAX_GAP_S - 1.0])
def test_a_hole_becomes_silence(gap_s: float) -> None:
    assert gaps([*in_line(0.0, 3), *in_line(0.06 + gap_s, 3)]) == [0.0, 0.0, 0.0, pytest.approx(gap_s), 0.0, 0.0]


def test_small_differences_are_left_until_they_add_up() -> None:
    """Time stamps are rounded, and the clock of a sound card drifts."""
    drifting: list[float | None] = [number * (FRAME_S + 0.001) for number in range(250)]
    silences = gaps(drifting)
    assert silences[:100] == [0.0] * 100
    assert sum(silences) == pytest.approx(250 * 0.001, abs=TOLERANCE_S)


def test_audio_is_never_dropped_where_time_stamps_overlap() -> None:
    assert gaps([*in_line(0.0, 20), *in_line(0.2, 20)]) == [0.0] * 40


def test_a_hole_after_an_overlap_ends_at_its_time_stamp() -> None:
    assert gaps([*in_line(0.0, 20), *in_line(0.2, 20), *in_line(10.0, 2)])[40] == pytest.approx(10.0 - 0.8)


@for_each("wrong_s", [5.0, -5.0, 2 * MAX_GAP_S, -2 * MAX_GAP_S, 9e18, -9e18])
def test_a_single_wrong_time_stamp_moves_nothing(wrong_s: float) -> None:
    assert gaps([*in_line(0.0, 500), 10.0 + wrong_s, *in_line(10.02, 50)]) == [0.0] * 551


@for_each("jump_s", [-5.0, -3000.0, 2 * MAX_GAP_S])
def test_a_clock_that_was_set_goes_on_where_the_audio_ended(jump_s: float) -> None:
    """Joined files, and broadcasts after a change of programme."""
    stamps = [*in_line(0.0, 300), *in_line(6.0 + jump_s, 10), *in_line(6.2 + jump_s + 2.0, 10)]
    silences = gaps(stamps)
    assert silences[:310] == [0.0] * 310
    assert silences[310] == pytest.approx(2.0)


def test_frames_without_time_stamps_follow_the_last_one() -> None:
    assert gaps([0.0, None, None, 5.06, None, 5.1]) == [0.0, 0.0, 0.0, pytest.approx(5.0), 0.0, 0.0]


def test_a_container_that_follows_another_counts_from_its_end() -> None:
    timeline = Timeline(0.0)
    first = [timeline.place(SAMPLES, at_s, FRAME_S) for at_s in in_line(0.0, 100)]
    timeline.restart_clock()
    second = [timeline.place(SAMPLES, at_s, FRAME_S) for at_s in [*in_line(0.0, 100), *in_line(7.0, 2)]]
    silences = [gap_s for placed in first + second for gap_s, _ in placed]
    assert silences[:200] == [0.0] * 200
    assert silences[200] == pytest.approx(5.0)


def test_a_hole_in_a_short_container_that_follows_another_is_silence() -> None:
    timeline = Timeline(0.0)
    for at_s in in_line(0.0, 25):
        timeline.place(SAMPLES, at_s, FRAME_S)
    timeline.restart_clock()
    placed = [timeline.place(SAMPLES, at_s, FRAME_S) for at_s in [*in_line(0.0, 5), *in_line(0.5, 2)]]
    assert [round(gap_s, 6) for each in placed for gap_s, _ in each] == [0.0] * 5 + [0.4, 0.0]


@given(st.lists(st.none() | st.floats(-1e19, 1e19), max_size=60))
def test_no_time_stamps_lose_frames_or_make_endless_silence(stamps: list[float | None]) -> None:
    timeline = Timeline(0.0)
    frames = [np.full(1, number, np.float32) for number in range(len(stamps))]
    placed = [each for frame, at_s in zip(frames, stamps, strict=True) for each in timeline.place(frame, at_s, FRAME_S)]
    placed += timeline.flush()
    assert [int(samples[0]) for _, samples in placed] == list(range(len(stamps)))
    assert all(0.0 <= gap_s <= MAX_GAP_S and math.isfinite(gap_s) for gap_s, _ in placed)
