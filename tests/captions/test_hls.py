"""Segments of captions: none changes once it is listed, and a cue is in each that it spans."""

import re
from itertools import pairwise

import m3u8
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.hls import Segmentation, Timeline
from livecaption.captions.layout import MAX_CUE_MS, MIN_CUE_MS, cues
from livecaption.events import Final

BEGAN_AT_MS = 1_800_000_000_000


def final(start_ms: int, end_ms: int, text: str = "Said.", utterance: int = 0, channel: int | None = None) -> Final:
    return Final(utterance, text, start_ms, end_ms, "en", 0.9, 300, channel=channel)


def timeline(*finals: Final, until_ms: int | None = None) -> Timeline:
    made = Timeline(37)
    for each in finals:
        made.push(each)
    if until_ms is None:
        made.finish()
    else:
        made.advance(until_ms)
    return made


def cut(duration_s: int = 6, start_ms: int = 0, mpegts: int = 0, window: int = 10) -> Segmentation:
    return Segmentation(duration_s, start_ms, mpegts, window)


def listed(made: Timeline, segmentation: Segmentation, *, is_over: bool = False, query: str = "") -> m3u8.M3U8:
    return m3u8.loads(segmentation.playlist(made, BEGAN_AT_MS, query, is_over=is_over))


def texts(segment: str) -> list[tuple[str, str, str]]:
    return [(cue.start, cue.end, cue.text) for cue in webvtt.from_string(segment)]


def test_a_playlist_lists_the_segments_that_never_change() -> None:
    playlist = listed(timeline(until_ms=14_000), cut(), query="duration=6")
    assert [segment.uri for segment in playlist.segments] == ["captions/0.vtt?duration=6", "captions/1.vtt?duration=6"]
    assert [segment.duration for segment in playlist.segments] == [6, 6]
    assert (playlist.target_duration, playlist.media_sequence, playlist.is_endlist) == (6, 0, False)
    assert playlist.program_date_time.isoformat() == "2027-01-15T08:00:00+00:00"


def test_a_window_slides_over_the_newest_segments() -> None:
    playlist = listed(timeline(until_ms=60_000), cut(window=3))
    assert [segment.uri for segment in playlist.segments] == [f"captions/{n}.vtt" for n in (7, 8, 9)]
    assert playlist.media_sequence == 7
    assert playlist.program_date_time.isoformat() == "2027-01-15T08:00:42+00:00"


def test_a_playlist_before_the_first_segment_is_empty() -> None:
    assert listed(timeline(until_ms=5_999), cut()).segments == []


def test_the_last_segment_of_an_event_that_is_over_need_not_be_full() -> None:
    playlist = listed(timeline(final(7_000, 8_000)), cut(), is_over=True)
    assert len(playlist.segments) == 2
    assert playlist.is_endlist


def test_a_cue_that_spans_segments_is_in_each_with_its_whole_times() -> None:
    made = timeline(final(4_000, 8_000, "And so my fellow Americans."))
    [first] = texts(cut().segment(made, 0))
    assert first == texts(cut().segment(made, 1))[0] == ("00:00:04.000", "00:00:08.000", "And so my fellow Americans.")


def test_a_segment_without_speech_exists_and_is_empty() -> None:
    segment = cut().segment(timeline(final(20_000, 21_000)), 1)
    assert segment == "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n"


def test_captions_begin_where_the_video_does() -> None:
    """The video has begun 10 s after the event, with the timestamp of GStreamer's muxer, or 10 s before it."""
    later = cut(start_ms=10_000, mpegts=324_000_000)
    made = timeline(final(2_000, 3_000, "Before."), final(9_500, 12_000, "At the beginning."))
    segment = later.segment(made, 0)
    assert "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:324000000\n" in segment
    assert texts(segment) == [("00:00:00.000", "00:00:02.000", "At the beginning.")]
    earlier = cut(start_ms=-10_000)
    assert texts(earlier.segment(made, 2))[0] == ("00:00:12.000", "00:00:13.000", "Before.")
    assert listed(made, later, is_over=True).program_date_time.isoformat() == "2027-01-15T08:00:10+00:00"


def test_a_timestamp_begins_again_after_33_bits() -> None:
    assert "MPEGTS:5\n" in cut(mpegts=2**33 + 5).segment(timeline(), 0)


def test_an_open_utterance_holds_its_segment_back() -> None:
    made = timeline(final(1_000, 2_000), until_ms=4_000)
    assert cut().n_segments(made, is_over=False) == 0
    made.push(final(4_000, 7_000, utterance=1))
    made.advance(20_000)
    assert cut().n_segments(made, is_over=False) == 3


def test_speech_without_a_pause_is_listed_but_for_two_utterances_and_a_cue() -> None:
    """Utterances end at the length limit, where the next one begins."""
    made = Timeline(37)
    for n in range(12):
        begin_ms = 14_000 * n
        made.push(final(begin_ms, begin_ms + 14_000, "Nobody had expected that the harbor would be empty. " * 5, n))
        made.advance(begin_ms + 14_000)
        assert made.until_ms > begin_ms - MAX_CUE_MS
    assert cut().n_segments(made, is_over=False) == 25


def test_the_end_of_a_cue_is_certain_once_the_next_one_cannot_shorten_it() -> None:
    made = timeline(final(4_000, 5_900), until_ms=6_000)
    assert made.until_ms == 4_000
    made.advance(8_000)
    assert made.until_ms == 8_000


def test_speech_that_comes_after_its_segment_was_listed_is_shown_late() -> None:
    made = timeline(until_ms=12_000)
    before = cut().segment(made, 1)
    made.push(final(7_000, 9_000, "Held back by a network."))
    made.advance(30_000)
    assert cut().segment(made, 1) == before
    assert texts(cut().segment(made, 2)) == [("00:00:12.000", "00:00:12.833", "Held back by a network.")]


def test_late_cues_are_shown_one_after_the_other() -> None:
    made = timeline(until_ms=30_000)
    for n in range(4):
        made.push(final(4_000 * n + 2_000, 4_000 * n + 5_000, f"Number {n}.", n))
    made.push(final(31_000, 32_000, "In time.", 4))
    made.finish()
    assert [(cue.start_ms, cue.end_ms, *cue.lines) for cue in made.cues] == [
        (30_000, 30_833, "Number 0."),
        (30_833, 31_666, "Number 1."),
        (31_666, 32_499, "Number 2."),
        (32_499, 33_332, "Number 3."),
        (33_332, 34_165, "In time."),
    ]


@given(
    st.lists(
        st.tuples(st.integers(1, 9_000), st.integers(300, 9_000), st.sampled_from([0, 0, 30_000]), st.integers(0, 1)),
        max_size=12,
    )
)
def test_cues_of_a_channel_never_overlap_and_change_no_listed_segment(said: list[tuple[int, int, int, int]]) -> None:
    """However late some of them come."""
    made, now_ms = Timeline(37), 0
    seen: dict[int, str] = {}
    segmentation = cut(window=10_000)
    for utterance, (pause_ms, length_ms, late_ms, channel) in enumerate(said):
        start_ms = now_ms + pause_ms
        made.advance(start_ms + late_ms)
        now_ms = start_ms + length_ms
        made.push(final(start_ms, now_ms, "Some words that were said.", utterance, channel))
        made.advance(now_ms)
        for number in range(segmentation.n_segments(made, is_over=False)):
            segment = segmentation.segment(made, number)
            assert seen.setdefault(number, segment) == segment
    made.finish()
    assert sum(len(line.split()) for cue in made.cues for line in cue.lines) == 5 * len(said)
    assert made.cues == sorted(made.cues, key=lambda cue: cue.start_ms)
    for channel in (0, 1):
        shown = [cue for cue in made.cues if cue.channel == channel]
        assert all(before.end_ms <= after.start_ms for before, after in pairwise(shown))
        assert all(cue.end_ms - cue.start_ms >= MIN_CUE_MS for cue in shown)


def test_channels_are_named_and_may_overlap() -> None:
    made = timeline(final(1_000, 3_000, "One.", channel=0), final(1_500, 2_500, "Two.", 1, channel=1))
    assert "<v Channel 1>One." in cut().segment(made, 0)
    assert "<v Channel 2>Two." in cut().segment(made, 0)


@given(
    st.lists(st.tuples(st.integers(0, 9_000), st.integers(300, 9_000)), max_size=12),
    st.integers(1, 10),
)
def test_no_segment_changes_once_it_is_listed_and_all_cues_come(said: list[tuple[int, int]], duration_s: int) -> None:
    """Each utterance begins after a pause, and has a length."""
    made, finals, now_ms = Timeline(37), [], 0
    seen: dict[int, str] = {}
    segmentation = cut(duration_s, window=10_000)
    for utterance, (pause_ms, length_ms) in enumerate(said):
        start_ms = now_ms + pause_ms
        made.advance(start_ms)
        finals.append(final(start_ms, start_ms + length_ms, "Some words that were said.", utterance))
        made.push(finals[-1])
        now_ms = start_ms + length_ms
        made.advance(now_ms)
        for number in range(segmentation.n_segments(made, is_over=False)):
            segment = segmentation.segment(made, number)
            assert seen.setdefault(number, segment) == segment
    made.finish()
    n = segmentation.n_segments(made, is_over=True)
    for number in range(n):
        segment = segmentation.segment(made, number)
        assert seen.setdefault(number, segment) == segment
    assert made.cues == cues(finals)
    shown = {found for number in range(n) for found in re.findall(r"^\S+ --> \S+$", seen[number], re.MULTILINE)}
    assert len(shown) == len(made.cues)
    assert all(cue.end_ms - cue.start_ms >= MIN_CUE_MS for cue in made.cues)
