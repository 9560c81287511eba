import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from livecaption.audio.container import decode_container
from livecaption.audio.formats import Samples
from livecaption.audio.framing import EnergyMeter, Framer
from livecaption.evaluation.clips import read_manifest
from livecaption.evaluation.latency import SpokenWord
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.speech.utterance import UtteranceCutter, UtteranceEnded
from livecaption.speech.vad import VoiceActivityDetector, _pcm
from tests.support.cases import for_each
from tests.support.properties import StageProperties
from tests.support.speech import sound

DATA = Path(__file__).parents[1] / "data"


def frames_of(script: str) -> Samples:
    return Framer().push(sound(script))


def judge(detector: VoiceActivityDetector, frames: Samples) -> list[bool]:
    return detector.judge(frames, np.einsum("fs,fs->f", frames, frames).tolist())


def judged(samples: Samples) -> list[bool]:
    return judge(VoiceActivityDetector(), Framer().push(samples))


def windows_ms(samples: Samples) -> list[tuple[float, float]]:
    """Return begin and end of the utterances that are cut out of a stream."""
    cutter = UtteranceCutter(EndpointingConfig(), VoiceActivityDetector().judge)
    events = cutter.push(Framer().push(samples.astype(np.float32))) + cutter.flush("stop")
    ended = [event.utterance for event in events if isinstance(event, UtteranceEnded)]
    return [(utterance.window_start / 16, utterance.window_end / 16) for utterance in ended]


def lost_words(words: Sequence[SpokenWord], samples: Samples, begin_ms: float) -> list[SpokenWord]:
    """Return the words that are in no utterance, by the last sounds of each."""
    windows = windows_ms(samples)
    sounds_ms = {word: begin_ms + word.end_ms - 60 for word in words}
    return [word for word, at_ms in sounds_ms.items() if not any(begin <= at_ms <= end for begin, end in windows)]


def last_voiced_s(voiced: list[bool]) -> float:
    return 0.02 * (1 + max(index for index, is_voiced in enumerate(voiced) if is_voiced))


@functools.cache
def recording(name: str) -> Samples:
    """Followed by a second of silence."""
    with (DATA / name).open("rb") as file:
        samples = np.concatenate([*decode_container(file), np.zeros(16_000, np.float32)])
    samples.flags.writeable = False
    return samples


def test_voice_is_voiced_and_silence_is_not() -> None:
    voiced = judged(sound("silence 1000ms, speech 1000ms, silence 1000ms"))
    assert not any(voiced[:50])
    assert all(voiced[51:100])
    assert not any(voiced[-35:])


def test_digital_silence_is_unvoiced() -> None:
    assert not any(judged(np.zeros(32_000, np.float32)))


def test_no_frames_are_no_answers() -> None:
    assert judge(VoiceActivityDetector(), np.zeros((0, 320), np.float32)) == []


def test_breath_after_speech_is_unvoiced() -> None:
    """Otherwise, the final of what was said would wait for the breath to end."""
    breath = np.random.default_rng(1).normal(scale=0.003, size=9_600).astype(np.float32)
    voiced = judged(np.concatenate([sound("silence 1000ms, speech 1000ms"), breath, sound("silence 400ms")]))
    assert last_voiced_s(voiced) == pytest.approx(2.0, abs=0.15)


def test_the_end_of_speech_is_noticed_in_time() -> None:
    assert last_voiced_s(judged(recording("read-en-leopard-quilter.flac"))) == pytest.approx(5.34, abs=0.2)


@for_each("gain_db", [6, 0, -20])
def test_speech_is_voiced_to_its_end_at_any_level(gain_db: int) -> None:
    samples = np.clip(recording("ls-61-70968-0000.flac") * np.float32(10 ** (gain_db / 20)), -1, 1)
    assert last_voiced_s(judged(samples)) == pytest.approx(4.66, abs=0.2)


def test_a_soft_speaker_after_a_loud_one_is_voiced_to_the_end() -> None:
    """The level follows the newest speech."""
    loud = recording("ls-211-122425-0000.flac")
    voiced = judged(np.concatenate([loud, loud * np.float32(0.1)]))
    assert last_voiced_s(voiced) - loud.size / 16_000 == pytest.approx(4.58, abs=0.1)


@functools.cache
def in_telephone_band(name: str) -> Samples:
    """Keep 300 to 3400 Hz of a recording, with the peak of a loud speaker."""
    samples = recording(name)[:-16_000]
    spectrum, frequencies = np.fft.rfft(samples), np.fft.rfftfreq(samples.size, 1 / 16_000)
    passed = np.clip((frequencies - 200) / 150, 0, 1) * np.clip((3700 - frequencies) / 400, 0, 1)
    band = np.fft.irfft(spectrum * passed, samples.size)
    return band * 0.7 / np.abs(band).max()


@for_each("below_db", [22, 29, 36])
@for_each("gap_ms", [400, 1300])
def test_no_word_of_a_soft_speaker_after_a_loud_one_is_lost(gap_ms: int, below_db: int) -> None:
    """On the telephone one of two people is often much softer."""
    words = {clip.id: clip.words for clip in read_manifest(DATA)}["ls-61-70968-0000"]
    loud, soft = (in_telephone_band(f"{name}.flac") for name in ("ls-2412-153948-0000", "ls-61-70968-0000"))
    soft_from_ms = loud.size / 16 + gap_ms
    line = np.concatenate([loud, np.zeros(gap_ms * 16), soft * 10 ** (-below_db / 20), np.zeros(16_000)])
    line += np.random.default_rng(1).normal(scale=10 ** (-72 / 20), size=line.size)
    assert len(words) == 17
    assert not lost_words(words, line, soft_from_ms)


@pytest.mark.parametrize("level_db", [0, -25, -35])
def test_no_word_is_lost_at_any_level(level_db: int) -> None:
    clips = [clip for clip in read_manifest(DATA) if clip.id.startswith("ls-")]
    assert len(clips) == 6
    for clip in clips:
        samples = recording(clip.path.name) * 10 ** (level_db / 20)
        assert not lost_words(clip.words, samples, 0), clip.id


@for_each("level_db", [-90, -80, -70, -60, -50, -40])
def test_steady_noise_is_unvoiced_from_its_first_second_on(level_db: int) -> None:
    """Amplified noise would open an utterance in each quiet room."""
    noise = np.random.default_rng(0).normal(scale=10 ** (level_db / 20), size=5 * 16_000)
    assert not any(judged((np.round(noise * 32768) / 32768).astype(np.float32))[50:])


def in_noise(noise_db: float) -> Samples:
    """Return a sentence of -20 dB and white noise, whose level is relative to it."""
    samples = recording("ls-374-180298-0000.flac")[:-16_000]
    noise = np.random.default_rng(0).normal(size=len(samples))
    return (0.1 * (samples / np.sqrt(np.mean(np.square(samples))) + noise * 10 ** (noise_db / 20))).astype(np.float32)


def spoken_in_noise(noise_db: float) -> VoiceActivityDetector:
    """Return a detector that has received such a sentence."""
    detector = VoiceActivityDetector()
    judge(detector, Framer().push(in_noise(noise_db)))
    return detector


def test_speech_is_noisy_if_noise_is_less_than_14_db_below_it() -> None:
    levels_db = [-50, -20, -15, -13, -10, 0]
    assert [level_db for level_db in levels_db if spoken_in_noise(level_db).is_noisy] == [-13, -10, 0]


@for_each("offset", [-0.1, 0.01, 0.03])
def test_an_offset_is_no_noise_and_hides_no_pause(offset: float) -> None:
    samples = recording("ls-374-180298-0000.flac")
    with_offset = samples + np.float32(offset)
    detector, frames = VoiceActivityDetector(), Framer().push(with_offset)
    detector.judge(frames, EnergyMeter().measure(frames))
    assert not detector.is_noisy
    assert windows_ms(with_offset) == windows_ms(samples)


def test_an_amplified_offset_does_not_wrap_around() -> None:
    values = [np.frombuffer(cut, "<i2") for cut in _pcm(np.full((1, 320), 0.1, np.float32))[1]]
    assert {int(value) for value in values[0]} == {32767}


def test_noisy_speech_is_clear_again_only_where_it_is_far_above_the_noise() -> None:
    detector = spoken_in_noise(-10)
    judge(detector, Framer().push(in_noise(-18)))
    assert detector.is_noisy
    judge(detector, Framer().push(in_noise(-25)))
    assert not detector.is_noisy


def test_nothing_is_noisy_before_anybody_has_spoken() -> None:
    detector = VoiceActivityDetector()
    noise = np.random.default_rng(0).normal(scale=0.01, size=3 * 16_000).astype(np.float32)
    judge(detector, Framer().push(noise))
    assert not detector.is_noisy


def test_full_scale_does_not_wrap_around() -> None:
    """+1.0 is one more than 16 bits hold."""
    vowel = sound("silence 500ms, speech 2000ms")
    loud = np.sign(vowel).astype(np.float32)
    barely_lower = loud * np.float32(32767 / 32768)
    assert judged(loud) == judged(barely_lower)


class TestVoiceActivityDetectorProperties(StageProperties):
    def stream(self) -> Samples:
        return frames_of("silence 300ms, speech 700ms, silence 400ms, speech 100ms, silence 500ms")

    def run(self, chunks: Iterable[Samples]) -> list[bool]:
        detector = VoiceActivityDetector()
        return [voiced for chunk in chunks for voiced in judge(detector, chunk)]

    def check_complete(self, stream: Samples, output: list[bool]) -> None:
        assert output == self.run([self.stream()])[: len(stream)]


@for_each("sample", [1.0, -1.0, 0.0632, -0.0632, 0.06, 0.0001])
def test_no_sample_wraps_around_though_all_others_are_zero(sample: float) -> None:
    """Frames that are too quiet to reach full scale are not clipped. One sample has all the energy here."""
    frames = np.zeros((2, 320), np.float32)
    frames[1, 7] = sample
    pcm = _pcm(frames)
    values = [[np.frombuffer(frame, "<i2")[7] for frame in cut] for cut in pcm]
    plain, amplified = (np.float32(sample) * np.float32(32768 * gain) for gain in (1.0, 10 ** (24 / 20)))
    assert values == [[0, int(max(-32768, min(32767, value)))] for value in (plain, amplified)]
