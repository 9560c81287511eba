"""Distribution of recordings over streams, and of captions over recordings."""

from collections import Counter
from itertools import chain
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from livecaption.evaluation.clips import Clip
from livecaption.evaluation.latency import Received
from livecaption.evaluation.playlist import GAP_MS, Play, Recording, deal, split
from livecaption.events import Final, Partial, SpeechStart


def recording(name: str, duration_ms: int = 2000) -> Recording:
    return Recording(Clip(name, Path(name)), b"", duration_ms)


RECORDINGS = [recording(name, 1000 * n) for n, name in enumerate("abcdefgh", start=1)]


def names(playlists: list[list[Play]]) -> list[list[str]]:
    return [[play.recording.clip.id for play in plays] for plays in playlists]


@given(st.integers(1, 20), st.integers(1, 60_000))
def test_every_stream_speaks_all_the_time_and_keeps_the_pauses(n_streams: int, duration_ms: int) -> None:
    playlists = deal(RECORDINGS, n_streams, duration_ms)
    assert len(playlists) == n_streams
    for plays in playlists:
        assert plays[0].begin_ms == 0
        ends_ms = [play.begin_ms + play.recording.duration_ms for play in plays]
        assert [play.begin_ms for play in plays[1:]] == [end_ms + GAP_MS for end_ms in ends_ms[:-1]]
        assert plays[-1].begin_ms < duration_ms <= plays[-1].over_ms


@given(st.integers(1, 20))
def test_all_recordings_are_played_about_equally_often(n_streams: int) -> None:
    counts = Counter(name for plays in names(deal(RECORDINGS, n_streams, 60_000)) for name in plays)
    assert {counts[recording.clip.id] for recording in RECORDINGS} <= {min(counts.values()), min(counts.values()) + 1}


def test_more_streams_play_what_fewer_play_and_more() -> None:
    few, many = (Counter(chain.from_iterable(names(deal(RECORDINGS, n, 10_000)))) for n in (1, 4))
    assert few < many


def test_plays_are_the_same_each_time_and_differ_between_streams() -> None:
    playlists = names(deal(RECORDINGS, 4, 60_000))
    assert playlists == names(deal(RECORDINGS, 4, 60_000))
    assert len({tuple(plays) for plays in playlists}) == 4


def final(at_ms: float, start_ms: int, end_ms: int) -> Received:
    return Received(at_ms, Final(0, "word", start_ms, end_ms, "en", 0.9, 700))


def test_captions_count_their_times_from_the_beginning_of_their_recording() -> None:
    plays = [Play(recording("a"), 0), Play(recording("b"), 2000 + GAP_MS)]
    assert split([final(2500, 100, 1900), final(6300, 3600, 5400)], plays) == [
        [final(2500, 100, 1900)],
        [final(2800, 100, 1900)],
    ]


def test_an_utterance_that_begins_with_a_breath_of_the_silence_before_is_that_of_the_recording() -> None:
    plays = [Play(recording("a"), 0), Play(recording("b"), 2000 + GAP_MS)]
    late_in_a, early_in_b = final(3000, 2000 + GAP_MS // 2 - 1, 3000), final(6000, 2000 + GAP_MS // 2, 5000)
    assert [len(mine) for mine in split([late_in_a, early_in_b], plays)] == [1, 1]


def test_captions_of_what_is_not_asked_for_and_other_events_are_left_out() -> None:
    plays = [Play(recording("a"), 0)]
    beyond = Received(9000, Partial(1, 0, "word", "", 4000, 5000))
    assert split([Received(100, SpeechStart(0, 50)), beyond], plays) == [[]]
