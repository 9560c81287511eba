"""Recordings for uploads, and the text that the scripted engine gives them."""

from tests.support.containers import wav
from tests.support.speech import pcm_s16le, sound

ONE_UTTERANCE = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))
TWO_UTTERANCES = ONE_UTTERANCE + ONE_UTTERANCE
SILENCE = bytes(2 * 16_000)


def recording(pcm: bytes = ONE_UTTERANCE) -> bytes:
    """Return a WAV of 16 kHz."""
    return wav(pcm)
