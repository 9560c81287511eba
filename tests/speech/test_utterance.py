import itertools
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio import FRAME_SAMPLES
from livecaption.audio.formats import AudioFormat, PcmDecoder, Samples
from livecaption.audio.framing import Framer
from livecaption.audio.resampling import Resampler
from livecaption.events import EndReason
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.speech.utterance import UtteranceCutter, UtteranceEnded, UtteranceStarted
from livecaption.speech.vad import VoiceActivityDetector
from tests.support.cases import for_each
from tests.support.properties import StageProperties
from tests.support.speech import pcm_s16le, sound, voiced_flags

CONFIG = EndpointingConfig(onset_ms=60, hangover_ms=500, max_utterance_ms=3000, pre_roll_ms=300, post_roll_ms=200)


def frames_of(script: str) -> Samples:
    """Frames whose samples are positive where voiced, negative elsewhere, and all different."""
    flags = np.repeat(voiced_flags(script), FRAME_SAMPLES)
    samples = np.arange(1, flags.size + 1, dtype=np.float32) / 2**24
    return np.where(flags, samples, -samples).reshape(-1, FRAME_SAMPLES)


def judge(frames: Samples, energies: list[float]) -> list[bool]:
    return [bool(frame[0] > 0) for frame in frames]


def cutter_of(config: EndpointingConfig = CONFIG) -> UtteranceCutter:
    return UtteranceCutter(config, judge)


def cut(script: str, flush: EndReason = "stop", config: EndpointingConfig = CONFIG) -> list[Any]:
    cutter = cutter_of(config)
    return cutter.push(frames_of(script)) + cutter.flush(flush)


def open_in(events: list[Any]) -> UtteranceStarted | None:
    """The start of the utterance that is open behind these events, if one is."""
    return events[-1] if events and isinstance(events[-1], UtteranceStarted) else None


def in_ms(event: Any) -> tuple[Any, ...]:
    """(number, start, end, window_start, window_end, reason) with the times in milliseconds, or (number, at)."""
    if isinstance(event, UtteranceStarted):
        return event.number, event.at / 16
    utterance = event.utterance
    times = (utterance.start, utterance.end, utterance.window_start, utterance.window_end)
    return utterance.number, *(time / 16 for time in times), event.reason


def test_an_utterance_has_its_speech_and_a_window_around_it() -> None:
    assert [in_ms(event) for event in cut("silence 1000ms, speech 800ms, silence 900ms")] == [
        (0, 1000),
        (0, 1000, 1800, 700, 2000, "silence"),
    ]


def test_the_audio_of_a_window_stays_as_it_was_while_the_stream_goes_on() -> None:
    """It may be kept, and the stream's memory is used again."""
    frames = frames_of("silence 200ms, speech 8000ms")
    cutter = cutter_of(EndpointingConfig(max_utterance_ms=28_000))
    events, kept = [], []
    for start in range(0, len(frames), 5):
        events += cutter.push(frames[start : start + 5])
        if started := open_in(events):
            utterance = cutter.so_far(started)
            kept.append((utterance.samples, utterance.samples.copy()))
    assert len(kept) > 70
    assert all(np.array_equal(view, copy) for view, copy in kept)


def test_the_window_holds_exactly_the_audio_of_its_time() -> None:
    frames = frames_of("silence 1000ms, speech 800ms, silence 900ms")
    cutter = cutter_of()
    _, ended = [event for start in range(0, len(frames), 7) for event in cutter.push(frames[start : start + 7])]
    assert ended.utterance.samples.tolist() == frames.reshape(-1)[11_200:32_000].tolist()


def test_the_pre_roll_does_not_reach_before_the_stream() -> None:
    assert in_ms(cut("silence 100ms, speech 400ms, silence 900ms")[1]) == (0, 100, 500, 0, 700, "silence")


def test_the_pre_roll_does_not_reach_into_the_window_before() -> None:
    """Otherwise, words would be in two captions."""
    script = "silence 1000ms, speech 400ms, silence 240ms, speech 400ms, silence 240ms"
    config = EndpointingConfig(onset_ms=60, hangover_ms=200, pre_roll_ms=300, post_roll_ms=200)
    assert [in_ms(event) for event in cut(script, config=config)] == [
        (0, 1000),
        (0, 1000, 1400, 700, 1600, "silence"),
        (1, 1640),
        (1, 1640, 2040, 1600, 2240, "silence"),
    ]


def test_the_windows_of_a_cut_for_length_meet() -> None:
    """No audio is lost between them, and none is in both."""
    started, ended, restarted, rest = cut("speech 4000ms")
    assert in_ms(started) == (0, 0)
    # The frames get louder all the time, so the quietest point is the oldest that may be taken.
    assert in_ms(ended) == (0, 0, 2050, 0, 2050, "max_length")
    assert in_ms(restarted) == (1, 2050)
    assert in_ms(rest) == (1, 2050, 4000, 2050, 4000, "stop")


def test_audio_behind_an_early_final_is_in_the_window_of_the_next_utterance() -> None:
    """That final has 100 ms of the pause and not the whole post-roll: no other window would have the rest."""
    cutter = cutter_of()
    (started,) = cutter.push(frames_of("silence 1000ms, speech 400ms, silence 100ms"))
    assert cutter.speculate(started).window_end == 1500 * 16
    events = cutter.push(frames_of("silence 400ms, speech 400ms")) + cutter.flush("stop")
    assert [in_ms(event) for event in events] == [
        (0, 1000, 1400, 700, 1500, "silence"),
        (1, 1900),
        (1, 1900, 2300, 1600, 2300, "stop"),
    ]


def test_a_pause_that_was_not_the_end_leaves_the_post_roll_as_it_is() -> None:
    cutter = cutter_of()
    (started,) = cutter.push(frames_of("silence 1000ms, speech 400ms, silence 100ms"))
    cutter.speculate(started)
    (ended,) = cutter.push(frames_of("speech 400ms, silence 900ms"))
    assert in_ms(ended) == (0, 1000, 1900, 700, 2100, "silence")


def test_where_nobody_spoke_the_next_utterance_has_its_whole_pre_roll() -> None:
    """Audio that a recheck took for noise may be the softest beginning of a word in its newest part."""
    cutter = cutter_of()
    cutter.push(frames_of("silence 1000ms, speech 1200ms"))
    events = cutter.recheck_endpoint(0, 2200 * 16) + cutter.flush("stop")
    assert [in_ms(event) for event in events] == [
        (0, 1000, 1900, 700, 2100, "silence"),
        (1, 2100),
        (1, 2100, 2200, 1800, 2200, "stop"),
    ]


def test_where_somebody_spoke_in_the_pre_roll_alone_no_audio_is_in_two_windows() -> None:
    cutter = cutter_of()
    cutter.push(frames_of("silence 1000ms, speech 1200ms"))
    events = cutter.recheck_endpoint(800 * 16, 2200 * 16) + cutter.flush("stop")
    assert [in_ms(event) for event in events] == [
        (0, 1000, 1900, 700, 2100, "silence"),
        (1, 2100),
        (1, 2100, 2200, 2100, 2200, "stop"),
    ]


def test_the_windows_of_an_utterance_that_a_recheck_ended_and_of_the_rest_meet() -> None:
    cutter = cutter_of()
    events = cutter.push(frames_of("silence 500ms, speech 2000ms"))
    events += cutter.recheck_endpoint(1500 * 16, 2400 * 16)
    events += cutter.flush("stop")
    assert [in_ms(event) for event in events] == [
        (0, 500),
        (0, 500, 1500, 200, 1700, "silence"),
        (1, 1700),
        (1, 1700, 2500, 1700, 2500, "stop"),
    ]


@for_each("reason", ["flush", "stop", "disconnect"])
def test_a_flush_ends_the_open_utterance_with_what_has_come(reason: EndReason) -> None:
    ended = cut("silence 500ms, speech 400ms, silence 100ms", flush=reason)[1]
    assert in_ms(ended) == (0, 500, 900, 200, 1000, reason)


def test_speech_goes_on_after_a_flush_without_loss() -> None:
    frames = frames_of("silence 500ms, speech 1000ms")
    cutter = cutter_of()
    events = [*cutter.push(frames[:50]), *cutter.flush("flush"), *cutter.push(frames[50:]), *cutter.flush("stop")]
    assert [in_ms(event) for event in events] == [
        (0, 500),
        (0, 500, 1000, 200, 1000, "flush"),
        (1, 1000),
        (1, 1000, 1500, 1000, 1500, "stop"),
    ]


def test_a_flush_in_silence_ends_nothing() -> None:
    assert cut("silence 500ms, speech 40ms, silence 200ms") == []


def test_the_open_utterance_grows_to_the_newest_frame() -> None:
    frames = frames_of("silence 500ms, speech 400ms, silence 400ms")
    cutter = cutter_of()
    events, seen = [], []
    for frame in frames:
        events += cutter.push(frame[np.newaxis])
        if (started := open_in(events)) is not None:
            utterance = cutter.so_far(started)
            seen.append((utterance.start, utterance.end, utterance.window_start, utterance.window_end))
            window = frames.reshape(-1)[utterance.window_start : utterance.window_end]
            assert utterance.samples.tolist() == window.tolist()
    assert seen == [
        (8000, min(now, 14_400), 3200, now) for now in range(8000 + 960, len(frames) * FRAME_SAMPLES + 1, FRAME_SAMPLES)
    ]


def test_a_stream_that_goes_on_counts_its_time_and_its_utterances_from_where_it_was_left() -> None:
    cutter = UtteranceCutter(CONFIG, judge, begin=5000 * 16, numbers=itertools.count(7))
    assert (cutter.now, cutter.last_voiced_at) == (5000 * 16, 5000 * 16)
    assert [in_ms(event) for event in cutter.push(frames_of("silence 100ms, speech 800ms, silence 900ms"))] == [
        (7, 5100),
        (7, 5100, 5900, 5000, 6100, "silence"),
    ]


def test_no_later_window_has_audio_that_was_discarded() -> None:
    cutter = cutter_of()
    events = cutter.push(frames_of("silence 500ms, speech 400ms")) + cutter.discard()
    assert [in_ms(event)[-1] for event in events] == [500, "discard"]
    events = cutter.push(frames_of("speech 400ms")) + cutter.flush("stop")
    assert [in_ms(event) for event in events] == [(1, 900), (1, 900, 1300, 900, 1300, "stop")]


def test_a_discard_in_silence_drops_the_pre_roll_and_voice_that_is_not_believed_yet() -> None:
    cutter = cutter_of()
    events = cutter.push(frames_of("silence 500ms, speech 40ms")) + cutter.discard()
    events += cutter.push(frames_of("speech 400ms")) + cutter.flush("stop")
    assert [in_ms(event) for event in events] == [(0, 540), (0, 540, 940, 540, 940, "stop")]


def test_the_last_voiced_frame_is_known() -> None:
    cutter = cutter_of()
    assert cutter.last_voiced_at == 0
    cutter.push(frames_of("silence 100ms, speech 400ms, silence 300ms"))
    assert cutter.last_voiced_at == 500 * 16


def test_silence_for_hours_keeps_no_more_than_the_pre_roll() -> None:
    """A stream that idles over night does not eat the server's memory."""
    cutter = cutter_of()
    alive = []
    for _ in range(100):
        frames = -np.ones((10, FRAME_SAMPLES), np.float32)
        alive.append(weakref.ref(frames))
        cutter.push(frames)
        del frames
    # 360 ms of onset and pre-roll lie in at most three chunks of 200 ms.
    assert sum(chunk() is not None for chunk in alive) <= 3


def test_audio_that_has_ended_is_freed() -> None:
    cutter = cutter_of()
    frames = frames_of("speech 400ms")
    chunk = weakref.ref(frames)
    cutter.push(frames)
    del frames
    ended = [event for event in cutter.push(frames_of("silence 900ms")) if isinstance(event, UtteranceEnded)]
    assert len(ended) == 1
    assert chunk() is None


def test_the_longest_window_is_30_s() -> None:
    config = EndpointingConfig(pre_roll_ms=1000, max_utterance_ms=28_000, hangover_ms=1000, post_roll_ms=1000)
    cutter = cutter_of(config)
    events, longest = [], 0
    for frame in frames_of("silence 2000ms, speech 27020ms, silence 1000ms, speech 31000ms"):
        new = cutter.push(frame[np.newaxis])
        events += new
        utterances = [event.utterance for event in new if isinstance(event, UtteranceEnded)]
        if started := open_in(events):
            utterances.append(cutter.so_far(started))
        longest = max([longest, *(utterance.samples.size for utterance in utterances)])
    assert 29_000 * 16 <= longest <= 30_000 * 16


RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.booleans()), max_size=15)


@given(RUNS)
def test_windows_never_overlap_and_no_voice_is_lost(runs: list[tuple[bool, int, bool]]) -> None:
    """This holds for all speech, flushed at any time."""
    cutter = cutter_of(EndpointingConfig(max_utterance_ms=2000, pre_roll_ms=300, post_roll_ms=200))
    script = ", ".join(f"{'speech' if voiced else 'silence'} {20 * n_frames}ms" for voiced, n_frames, _ in runs)
    frames = frames_of(script) if script else np.empty((0, FRAME_SAMPLES), np.float32)
    events, pushed = [], 0
    for _, n_frames, flushed in runs:
        events += cutter.push(frames[pushed : pushed + n_frames])
        pushed += n_frames
        if flushed:
            events += cutter.flush("flush")
    events += cutter.flush("stop")
    check_events(events, frames.reshape(-1))


def check_events(events: list[Any], samples: Samples) -> None:
    """Check a stream that has ended."""
    assert [type(event) for event in events] == [UtteranceStarted, UtteranceEnded] * (len(events) // 2)
    n_windows = np.zeros(samples.size, int)
    for number, (started, ended) in enumerate(zip(events[::2], events[1::2], strict=True)):
        utterance = ended.utterance
        assert (started.number, utterance.number, started.at) == (number, number, utterance.start)
        assert utterance.window_start <= utterance.start < utterance.end <= utterance.window_end
        assert np.array_equal(utterance.samples, samples[utterance.window_start : utterance.window_end])
        n_windows[utterance.window_start : utterance.window_end] += 1
        if ended.reason == "max_length" and 2 * number + 2 < len(events) and events[2 * number + 2].at == utterance.end:
            assert utterance.window_end == utterance.end
    assert n_windows.max(initial=0) <= 1
    # Runs of voice as long as the onset are in windows from end to end, unless a flush tore them into clicks.
    missing = np.flatnonzero((samples > 0) & (n_windows == 0))
    for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        assert run.size < 960


def test_a_stream_of_bytes_becomes_utterances() -> None:
    """The whole way with the real VAD: 48 kHz stereo in pieces of 4 kB."""
    mono = sound("silence 1000ms, speech 1500ms, silence 1200ms, speech 900ms, silence 1500ms", 48_000)
    pcm = pcm_s16le(np.repeat(mono, 2))
    decoder, resampler, framer = PcmDecoder(AudioFormat("pcm_s16le", 48_000, 2)), Resampler(48_000), Framer()
    cutter = UtteranceCutter(EndpointingConfig(), VoiceActivityDetector().judge)
    events = []
    for start in range(0, len(pcm), 4096):
        events += cutter.push(framer.push(resampler.push(decoder.push(pcm[start : start + 4096]))))
    spoken = [event.utterance for event in events if isinstance(event, UtteranceEnded)]
    assert [utterance.start / 16 for utterance in spoken] == pytest.approx([1000, 3700], abs=60)
    assert [utterance.end / 16 for utterance in spoken] == pytest.approx([2500, 4600], abs=200)


class TestUtteranceCutterProperties(StageProperties):
    def stream(self) -> Samples:
        return frames_of(
            "silence 600ms, speech 4000ms, silence 300ms, speech 100ms, silence 520ms, speech 300ms, silence 900ms"
        )

    def cut(self, chunks: Iterable[Samples]) -> list[Any]:
        cutter = cutter_of()
        return [event for chunk in chunks for event in cutter.push(chunk)] + cutter.flush("stop")

    def run(self, chunks: Iterable[Samples]) -> list[Any]:
        events = self.cut(chunks)
        samples = [event.utterance.samples.tolist() for event in events if isinstance(event, UtteranceEnded)]
        return [*map(in_ms, events), *samples]

    def check_complete(self, stream: Samples, output: list[Any]) -> None:
        check_events(self.cut([stream]), stream.reshape(-1))
