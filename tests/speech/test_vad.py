import numpy as np
import pytest

from livecaption.audio.framing import Framer
from livecaption.errors import ConfigError
from livecaption.speech.vad import VoiceActivityDetector
from tests.support.properties import StageProperties
from tests.support.speech import sound


def frames_of(script):
    return Framer().push(sound(script))


@pytest.mark.parametrize("aggressiveness", [2, 3])  # 0 and 1 take even faint noise for voice at first
def test_voice_is_voiced_and_silence_is_not(aggressiveness):
    voiced = VoiceActivityDetector(aggressiveness).judge(frames_of("silence 1000ms, speech 1000ms, silence 1000ms"))
    assert not any(voiced[:50])
    assert all(voiced[51:100])
    assert not any(voiced[-35:])


def test_digital_silence_is_unvoiced():
    assert not any(VoiceActivityDetector(0).judge(np.zeros((100, 320), np.float32)))


def test_no_frames_are_no_answers():
    assert VoiceActivityDetector(2).judge(np.zeros((0, 320), np.float32)) == []


def test_full_scale_does_not_wrap_around():
    """+1.0 is one more than 16 bits hold."""
    vowel = sound("silence 500ms, speech 2000ms")
    loud = np.sign(vowel).astype(np.float32)
    barely_lower = loud * np.float32(32767 / 32768)
    judged = [VoiceActivityDetector(3).judge(Framer().push(samples)) for samples in (loud, barely_lower)]
    assert judged[0] == judged[1]


@pytest.mark.parametrize("aggressiveness", [-1, 4, True, "2", 2.0, None])
def test_an_aggressiveness_there_is_not_is_refused(aggressiveness):
    with pytest.raises(ConfigError, match="aggressiveness"):
        VoiceActivityDetector(aggressiveness)


class TestVoiceActivityDetectorProperties(StageProperties):
    def stream(self):
        return frames_of("silence 300ms, speech 700ms, silence 400ms, speech 100ms, silence 500ms")

    def run(self, chunks):
        detector = VoiceActivityDetector(2)
        return [voiced for chunk in chunks for voiced in detector.judge(chunk)]

    def check_complete(self, stream, output):
        assert output == self.run([self.stream()])[: len(stream)]
