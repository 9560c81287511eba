from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from livecaption.audio.container import decode_container
from livecaption.audio.formats import Samples
from livecaption.audio.framing import Framer
from livecaption.speech.vad import VoiceActivityDetector
from tests.support.properties import StageProperties
from tests.support.speech import sound

DATA = Path(__file__).parents[1] / "data"


def frames_of(script: str) -> Samples:
    return Framer().push(sound(script))


def judge(detector: VoiceActivityDetector, frames: Samples) -> list[bool]:
    return detector.judge(frames, np.einsum("fs,fs->f", frames, frames).tolist())


def judged(samples: Samples) -> list[bool]:
    return judge(VoiceActivityDetector(), Framer().push(samples))


def last_voiced_s(voiced: list[bool]) -> float:
    return 0.02 * (1 + max(index for index, is_voiced in enumerate(voiced) if is_voiced))


def recording(name: str) -> Samples:
    """Followed by a second of silence."""
    with (DATA / name).open("rb") as file:
        return np.concatenate([*decode_container(file), np.zeros(16_000, np.float32)])


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


@pytest.mark.parametrize("gain_db", [6, 0, -20])
def test_speech_is_voiced_to_its_end_at_any_level(gain_db: int) -> None:
    samples = np.clip(recording("ls-61-70968-0000.flac") * np.float32(10 ** (gain_db / 20)), -1, 1)
    assert last_voiced_s(judged(samples)) == pytest.approx(4.66, abs=0.2)


def test_a_soft_speaker_after_a_loud_one_is_voiced_to_the_end() -> None:
    """The level follows the newest speech."""
    loud = recording("ls-211-122425-0000.flac")
    voiced = judged(np.concatenate([loud, loud * np.float32(0.1)]))
    assert last_voiced_s(voiced) - loud.size / 16_000 == pytest.approx(4.58, abs=0.1)


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
