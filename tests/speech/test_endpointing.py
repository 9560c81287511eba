from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.errors import ConfigError
from livecaption.events import EndReason
from livecaption.recognition import MAX_WINDOW_MS
from livecaption.speech.endpointing import Endpointer, EndpointingConfig, SpeechEnded, SpeechStarted
from tests.support.cases import for_each
from tests.support.properties import StageProperties
from tests.support.speech import voiced_flags


def at_ms(duration_ms: int) -> int:
    return duration_ms * 16


def endpoints(
    script: str, flush: EndReason | None = None, energies: list[float] | None = None, **config: Any
) -> list[Any]:
    """Return all events of an endpointer for a script. The energy is 1 in speech and 0 in silence unless given."""
    endpointer = Endpointer(EndpointingConfig(**config))
    flags = voiced_flags(script)
    events = []
    for voiced, energy in zip(flags, energies or map(float, flags), strict=True):
        events += endpointer.push(voiced, energy)
    return events + (endpointer.flush(flush) if flush else [])


def test_speech_between_silences_is_an_utterance() -> None:
    """It begins with its first voiced frame and ends with its last, not when we came to believe it."""
    assert endpoints("silence 300ms, speech 800ms, silence 900ms") == [
        SpeechStarted(at_ms(300)),
        SpeechEnded(at_ms(1100), "silence"),
    ]


def test_a_pause_shorter_than_the_hangover_does_not_split_an_utterance() -> None:
    """A breath between two words stays inside one caption."""
    assert endpoints("silence 300ms, speech 800ms, silence 480ms, speech 500ms, silence 900ms") == [
        SpeechStarted(at_ms(300)),
        SpeechEnded(at_ms(2080), "silence"),
    ]


def test_a_pause_as_long_as_the_hangover_splits() -> None:
    assert endpoints("speech 800ms, silence 500ms, speech 500ms, silence 500ms") == [
        SpeechStarted(0),
        SpeechEnded(at_ms(800), "silence"),
        SpeechStarted(at_ms(1300)),
        SpeechEnded(at_ms(1800), "silence"),
    ]


def test_the_hangover_counts_from_the_last_voiced_frame() -> None:
    assert endpoints("speech 800ms, silence 400ms, speech 20ms, silence 480ms") == [SpeechStarted(0)]


def test_a_click_is_not_speech() -> None:
    assert endpoints("silence 300ms, speech 40ms, silence 200ms", onset_ms=60, flush="stop") == []


def test_clicks_do_not_add_up_to_speech() -> None:
    assert endpoints("speech 40ms, silence 20ms, " * 20 + "silence 20ms", onset_ms=60) == []


def test_speech_is_believed_when_the_onset_is_over() -> None:
    assert endpoints("silence 300ms, speech 60ms", onset_ms=60) == [SpeechStarted(at_ms(300))]


def test_an_onset_of_one_frame_believes_at_once() -> None:
    assert endpoints("silence 300ms, speech 20ms", onset_ms=20) == [SpeechStarted(at_ms(300))]


def test_durations_between_frames_are_rounded_up() -> None:
    assert endpoints("speech 60ms, silence 20ms", onset_ms=61) == []
    assert endpoints("speech 80ms", onset_ms=61) == [SpeechStarted(0)]


def test_speech_without_end_is_cut_where_it_was_quietest_and_goes_on_there() -> None:
    energies = [1.0] * 150
    energies[118:123] = [0.3, 0.2, 0.1, 0.2, 0.3]  # 2360..2460 ms
    assert endpoints("speech 3000ms", energies=energies, max_utterance_ms=3000) == [
        SpeechStarted(0),
        SpeechEnded(at_ms(2410), "max_length"),
        SpeechStarted(at_ms(2410)),
    ]


def test_a_cut_looks_for_quiet_of_some_length_not_for_one_quiet_frame() -> None:
    energies = [1.0] * 150
    energies[110] = 0.0
    energies[130:135] = [0.7] * 5
    assert endpoints("speech 3000ms", energies=energies, max_utterance_ms=3000)[1].at == at_ms(2650)


def test_a_cut_takes_the_newest_of_equally_quiet_points() -> None:
    assert endpoints("speech 3000ms", max_utterance_ms=3000)[1].at == at_ms(2950)


def test_where_nothing_is_quiet_a_cut_looks_back_a_second_and_no_further() -> None:
    """Words before that may have been committed to the caption that is cut."""
    energies = [1.0] * 150
    energies[90:95] = [0.2] * 5  # 1800..1900 ms: quiet, but not for that moment
    energies[100:105] = [0.7] * 5
    assert endpoints("speech 3000ms", energies=energies, max_utterance_ms=3000)[1].at == at_ms(2050)


@for_each(
    ("max_utterance_ms", "quiet_from_ms", "quiet_db", "is_cut"),
    [
        (20_000, 16_000, -31, True),
        (20_000, 15_800, -31, False),  # the search has not begun
        (20_000, 16_000, -25, False),  # it may yet be quieter
        (20_000, 17_900, -16, True),
        (3000, 1500, -31, True),  # half of an utterance is searched at most
    ],
)
def test_a_cut_is_made_at_the_first_moment_that_is_quiet_enough_so_late(
    max_utterance_ms: int, quiet_from_ms: int, quiet_db: float, is_cut: bool
) -> None:
    energies = [1.0] * (max_utterance_ms // 20 + 5)
    first = quiet_from_ms // 20
    energies[first : first + 5] = [10 ** (quiet_db / 10)] * 5
    events = endpoints(
        f"speech {quiet_from_ms + 100}ms", energies=energies[: first + 5], max_utterance_ms=max_utterance_ms
    )
    at = at_ms(quiet_from_ms + 50)
    assert events == [SpeechStarted(0), *([SpeechEnded(at, "max_length"), SpeechStarted(at)] if is_cut else [])]


def test_the_length_after_a_cut_counts_from_the_cut() -> None:
    energies = [1.0] * 100 + [0.1] * 5 + [1.0] * 125 + [0.1] * 5 + [1.0] * 65
    assert endpoints("speech 6000ms", energies=energies, max_utterance_ms=3000) == [
        SpeechStarted(0),
        SpeechEnded(at_ms(2050), "max_length"),
        SpeechStarted(at_ms(2050)),
        SpeechEnded(at_ms(4650), "max_length"),
        SpeechStarted(at_ms(4650)),
    ]


def test_at_the_greatest_length_a_pause_ends_the_utterance() -> None:
    """There is no better place for a cut, and nobody speaks, so nothing starts."""
    assert endpoints("speech 2800ms, silence 300ms", max_utterance_ms=3000) == [
        SpeechStarted(0),
        SpeechEnded(at_ms(2800), "max_length"),
    ]


@for_each("reason", ["flush", "stop", "disconnect"])
@for_each(
    ("script", "end_ms"),
    [("speech 400ms", 400), ("speech 400ms, silence 300ms", 400), ("silence 20ms, speech 60ms", 80)],
)
def test_a_flush_ends_an_open_utterance_at_its_last_voiced_frame(script: str, end_ms: int, reason: EndReason) -> None:
    assert endpoints(script, flush=reason)[1:] == [SpeechEnded(at_ms(end_ms), reason)]


@for_each("script", ["silence 400ms", "speech 400ms, silence 500ms", "silence 20ms, speech 40ms"])
def test_a_flush_without_an_open_utterance_gives_no_event(script: str) -> None:
    assert endpoints(script, flush="flush") == endpoints(script)


def test_a_second_flush_gives_no_event() -> None:
    endpointer = Endpointer(EndpointingConfig(onset_ms=20))
    endpointer.push(True, 1.0)
    assert len(endpointer.flush("flush")) == 1
    assert endpointer.flush("stop") == []


def test_speech_goes_on_after_a_flush_as_a_new_utterance() -> None:
    endpointer = Endpointer(EndpointingConfig(onset_ms=40))
    events = [event for _ in range(5) for event in endpointer.push(True, 1.0)]
    events += endpointer.flush("flush")
    events += [event for _ in range(5) for event in endpointer.push(True, 1.0)]
    assert events == [SpeechStarted(0), SpeechEnded(at_ms(100), "flush"), SpeechStarted(at_ms(100))]


@for_each(
    ("name", "value"),
    [
        ("onset_ms", 19),
        ("onset_ms", 1001),
        ("hangover_ms", 0),
        ("hangover_ms", 10_001),
        ("max_utterance_ms", 1999),
        ("max_utterance_ms", 28_001),
        ("pre_roll_ms", -1),
        ("pre_roll_ms", 1001),
        ("post_roll_ms", -1),
        ("post_roll_ms", 1_001),
        ("hangover_ms", "500"),
        ("hangover_ms", 500.0),
        ("pre_roll_ms", True),
        ("max_utterance_ms", None),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        EndpointingConfig(**{name: value})


def test_the_largest_window_fits_the_engine() -> None:
    largest = EndpointingConfig(pre_roll_ms=1000, max_utterance_ms=28_000, post_roll_ms=1000, hangover_ms=1000)
    assert largest.pre_roll_ms + largest.max_utterance_ms + largest.post_roll_ms == MAX_WINDOW_MS


# The endpoint rechecked by a better detector, which has judged all up to some time


def recheck(
    script: str, speech_end_ms: int, window_end_ms: int | None = None, **config: Any
) -> tuple[list[Any], Endpointer]:
    """Return the endpointer's events when that detector answers at the end of the script."""
    endpointer = Endpointer(EndpointingConfig(**config))
    flags = voiced_flags(script)
    for voiced in flags:
        endpointer.push(voiced, float(voiced))
    window_end_ms = 20 * len(flags) if window_end_ms is None else window_end_ms
    return endpointer.recheck_endpoint(at_ms(speech_end_ms), at_ms(window_end_ms)), endpointer


def test_noise_behind_speech_does_not_keep_an_utterance_open() -> None:
    """It ends where the speech ended. The voice since may be speech that has just begun, so it is judged once more."""
    events, endpointer = recheck("speech 3000ms", 2000, hangover_ms=500, post_roll_ms=400)
    assert events == [SpeechEnded(at_ms(2000), "silence"), SpeechStarted(at_ms(2400))]
    assert endpointer.flush("stop") == [SpeechEnded(at_ms(3000), "stop")]


def test_where_the_post_roll_covers_all_voice_since_nothing_new_begins() -> None:
    events, endpointer = recheck("speech 2300ms, silence 300ms", 2000, hangover_ms=500, post_roll_ms=400)
    assert events == [SpeechEnded(at_ms(2000), "silence")]
    assert endpointer.flush("stop") == []


@pytest.mark.parametrize(("window_end_ms", "mid_phrase"), [(2480, False), (2680, True)])
def test_a_recheck_of_less_than_the_hangover_behind_the_speech_ends_nothing(
    window_end_ms: int, mid_phrase: bool
) -> None:
    endpointer = Endpointer(EndpointingConfig(hangover_ms=500, mid_phrase_hangover_ms=700))
    for _ in range(150):
        endpointer.push(True, 1.0)
    endpointer.mid_phrase = mid_phrase
    assert endpointer.recheck_endpoint(at_ms(2000), at_ms(window_end_ms)) == []
    assert endpointer.recheck_endpoint(at_ms(2000), at_ms(window_end_ms + 20)) != []


def test_an_utterance_in_which_nobody_spoke_ends_and_its_newest_sounds_are_judged_again() -> None:
    events, _ = recheck("silence 200ms, speech 2000ms", 0, hangover_ms=500, post_roll_ms=100)
    assert events == [SpeechEnded(at_ms(1900), "silence"), SpeechStarted(at_ms(2000))]


@for_each("script", ["silence 2000ms", "speech 400ms, silence 900ms", "silence 900ms, speech 40ms"])
def test_a_recheck_without_an_open_utterance_ends_nothing(script: str) -> None:
    assert recheck(script, 0, onset_ms=60)[0] == []


def test_where_endpointing_is_manual_no_silence_ends_an_utterance() -> None:
    endpointer = Endpointer(EndpointingConfig(manual=True))
    events = []
    for voiced in voiced_flags("silence 200ms, speech 800ms, silence 9000ms, speech 800ms, silence 900ms"):
        events += endpointer.push(voiced, float(voiced))
    assert events == [SpeechStarted(at_ms(200))]
    assert endpointer.recheck_endpoint(at_ms(1000), at_ms(11_700)) == []
    assert endpointer.flush("flush") == [SpeechEnded(at_ms(10_800), "flush")]


@pytest.mark.parametrize(("script", "end_ms"), [("speech 800ms, silence 2000ms", 800), ("speech 2800ms", 1950)])
def test_where_endpointing_is_manual_the_length_limit_still_ends_an_utterance(script: str, end_ms: int) -> None:
    endpointer = Endpointer(EndpointingConfig(manual=True, max_utterance_ms=2000))
    events = [event for voiced in voiced_flags(script) for event in endpointer.push(voiced, float(voiced))]
    assert events[1] == SpeechEnded(at_ms(end_ms), "max_length")


RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 150), st.floats(0, 1)), max_size=12)


@given(RUNS)
def test_starts_and_ends_alternate_and_no_utterance_is_too_long(runs: list[tuple[bool, int, float]]) -> None:
    endpointer = Endpointer(EndpointingConfig(max_utterance_ms=2000))
    events = [
        event for voiced, n_frames, energy in runs for _ in range(n_frames) for event in endpointer.push(voiced, energy)
    ]
    events += endpointer.flush("stop")
    check_alternation(events)
    assert all(end.at - start.at <= at_ms(2000) for start, end in zip(events[::2], events[1::2], strict=True))


@given(RUNS, st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=1), st.sampled_from([20, 500]))
def test_starts_and_ends_alternate_also_with_rechecks(
    runs: list[tuple[bool, int, float]], looks: list[tuple[int, int]], hangover_ms: int
) -> None:
    endpointer = Endpointer(EndpointingConfig(max_utterance_ms=2000, hangover_ms=hangover_ms))
    events = []
    for i, (voiced, n_frames, energy) in enumerate(runs):
        for _ in range(n_frames):
            events += endpointer.push(voiced, energy)
        pause, age = looks[i % len(looks)]
        window_end = max(0, endpointer.now - age * 320)
        events += endpointer.recheck_endpoint(max(0, window_end - pause * 320), window_end)
    check_alternation(events + endpointer.flush("stop"))


def check_alternation(events: list[Any]) -> None:
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded] * (len(events) // 2)
    times = [event.at for event in events]
    assert times == sorted(times)
    assert all(start.at < end.at for start, end in zip(events[::2], events[1::2], strict=True))


class TestEndpointerProperties(StageProperties):
    def stream(self) -> list[tuple[bool, float]]:
        flags = voiced_flags("silence 300ms, speech 2900ms, silence 300ms, speech 100ms, silence 900ms, speech 500ms")
        return [(voiced, i * 37 % 11 / 10) for i, voiced in enumerate(flags)]

    def run(self, chunks: Iterable[list[tuple[bool, float]]]) -> list[Any]:
        endpointer = Endpointer(EndpointingConfig(max_utterance_ms=2000))
        events = [event for chunk in chunks for frame in chunk for event in endpointer.push(*frame)]
        return events + endpointer.flush("stop")

    def check_complete(self, stream: list[tuple[bool, float]], output: list[Any]) -> None:
        check_alternation(output)
        # Every voiced frame but a click at the end is inside an utterance.
        covered = [range(start.at, end.at) for start, end in zip(output[::2], output[1::2], strict=True)]
        n_click = next((i for i, (voiced, _) in enumerate(reversed(stream)) if not voiced), len(stream))
        for i, (voiced, _) in enumerate(stream[: len(stream) - (n_click if n_click < 3 else 0)]):
            if voiced:
                assert any(i * 320 in speech for speech in covered)


def test_a_pause_in_mid_phrase_is_given_longer() -> None:
    config = EndpointingConfig(hangover_ms=500, mid_phrase_hangover_ms=900)
    for mid_phrase, n_utterances in ((False, 2), (True, 1)):
        endpointer = Endpointer(config)
        events = []
        for voiced in voiced_flags("silence 200ms, speech 800ms, silence 700ms, speech 800ms, silence 900ms"):
            events += endpointer.push(voiced, 0.0)
            endpointer.mid_phrase = mid_phrase
        assert len([event for event in events if isinstance(event, SpeechStarted)]) == n_utterances


@pytest.mark.parametrize("begins_mid_phrase", [False, True])
def test_the_words_of_one_utterance_do_not_count_for_the_next(begins_mid_phrase: bool) -> None:
    endpointer = Endpointer(EndpointingConfig(), begins_mid_phrase=begins_mid_phrase)
    for voiced in voiced_flags("speech 200ms"):
        endpointer.push(voiced, 0.0)
    endpointer.mid_phrase = not begins_mid_phrase
    for voiced in voiced_flags("silence 1000ms, speech 200ms"):
        endpointer.push(voiced, 0.0)
    assert endpointer.mid_phrase == begins_mid_phrase


def test_silence_in_one_step_is_the_same_as_frame_by_frame() -> None:
    """The times and the quietest moment of a later cut are the same, though the utterance is near its maximum then."""
    speech = [(True, 9.0)] * 90 + [(True, 1.0)] * 5 + [(True, 9.0)] * 60
    stepped, passed = (Endpointer(EndpointingConfig(max_utterance_ms=2_000)) for _ in range(2))
    silence = [0.5, 0.0, 2.0]
    for energy in silence:
        assert stepped.push(voiced=False, energy=energy) == []
    assert passed.is_silent
    passed.pass_silence(len(silence))
    events = [[event for frame in speech for event in each.push(*frame)] for each in (stepped, passed)]
    assert events[0] == events[1]
    assert len(events[0]) >= 3
    assert not passed.is_silent
