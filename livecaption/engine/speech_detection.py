"""Find the speech in a window by Silero's network. It checks what WebRTC's VAD has called voiced.

WebRTC's VAD detects energy that resembles speech; this network detects speech. It takes 1 ms of one thread for a second
of audio; a transcription takes 9 to 20 ms. It comes with faster-whisper and runs on ONNX Runtime, on the CPU. Figures:
docs/decisions/0012-endpoint-recheck.md.
"""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from livecaption.audio import SAMPLE_RATE_HZ

# From version 1.29 on, ONNX Runtime sends telemetry from its import on, unless this is set before. Nothing may leave
# this machine.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

CHUNK_SAMPLES = 512
CHUNK_MS = 1000 * CHUNK_SAMPLES / SAMPLE_RATE_HZ
SPEECH_PROBABILITY = 0.5
SPEECH_GOES_ON_PROBABILITY = 0.35
"""Silero's thresholds for the beginning of speech and for its continuation. Soft last sounds are less probable."""
PEAK = 0.5
"""Peak to which windows are amplified, because the network does not detect soft speech. Less: soft utterances are lost.
More: samples would clip above 1. Figures: docs/decisions/0012-endpoint-recheck.md."""
LEAD_IN_CHUNKS = 10
"""Chunks of silence before a window. A window may begin with speech, and the network misses the speech in its first
chunks. Figures: docs/decisions/0012-endpoint-recheck.md."""
MIN_PAUSE_MS = 300
"""Least length of a pause in ms. Shorter gaps are between words, which may belong together."""
MIN_PEAK = 0.005
"""Least peak that is amplified to `PEAK`. Softer audio is silence."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Speech in a window.

    Attributes:
        total_ms: part of the window that sounds like speech.
        end_ms: end of the last speech in the window; 0: there is none.
        probability: highest probability of speech in the window.
        pause_ms: middle of the longest pause between speech; 0: there is none.
    """

    total_ms: int
    end_ms: int
    probability: float
    pause_ms: int = 0


class SpeechDetector:
    """Detector of speech. It keeps no state between windows."""

    def __init__(self) -> None:
        self._model = get_vad_model()

    def detect(self, samples: npt.NDArray[np.float32]) -> Speech:
        """Find the speech in float32 [n_samples], mono, 16 kHz, -1..1."""
        if not len(samples):
            return Speech(0, 0, 0.0)
        peak = max(float(np.abs(samples).max()), MIN_PEAK)
        padding = LEAD_IN_CHUNKS * CHUNK_SAMPLES, -len(samples) % CHUNK_SAMPLES
        padded = np.pad(samples * np.float32(PEAK / peak), padding)
        return speech_of(self._model(padded).reshape(-1)[LEAD_IN_CHUNKS:])


def speech_of(probabilities: npt.NDArray[np.float32]) -> Speech:
    """Evaluate the probabilities [n_chunks] of speech in chunks of `CHUNK_MS`."""
    total_ms = round(CHUNK_MS * np.count_nonzero(probabilities >= SPEECH_PROBABILITY))
    (likely,) = np.nonzero(probabilities >= SPEECH_GOES_ON_PROBABILITY)
    end_ms = round(CHUNK_MS * (likely[-1] + 1)) if total_ms else 0
    return Speech(total_ms, end_ms, float(probabilities.max()), round(CHUNK_MS * _longest_pause(likely)))


def _longest_pause(likely: npt.NDArray[np.intp]) -> float:
    """Return the middle of the longest pause between chunks of speech, in chunks; 0: there is none."""
    gaps = np.diff(likely)
    if not len(gaps) or (gaps.max() - 1) * CHUNK_MS < MIN_PAUSE_MS:
        return 0
    longest = int(gaps.argmax())
    return float(likely[longest] + 1 + likely[longest + 1]) / 2
