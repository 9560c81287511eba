"""Find the speech in a window by Silero's network. It checks what WebRTC's VAD has called voiced.

WebRTC's VAD detects energy that resembles speech; this network detects speech. It takes 1 to 2 ms of one thread for a
second of audio; a transcription takes 9 to 60 ms. It comes with faster-whisper and runs on ONNX Runtime, on the CPU.
Figures: docs/decisions/0012-endpoint-recheck.md, docs/decisions/0055-analyzed-once.md.
"""

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.recognition import CHUNK_SAMPLES, Analysis

Floats = npt.NDArray[np.float32]

# From version 1.29 on, ONNX Runtime sends telemetry from its import on, unless this is set before. Nothing may leave
# this machine.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

CHUNK_MS = 1000 * CHUNK_SAMPLES / SAMPLE_RATE_HZ
_CONTEXT_SAMPLES = 64  # samples before a chunk that the network gets with it
_STATE_SIZE = 128
_NOTHING = np.empty(0, np.float32)
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
        start_ms: beginning of the first speech in the window.
    """

    total_ms: int
    end_ms: int
    probability: float
    pause_ms: int = 0
    start_ms: int = 0


class Judged(NamedTuple):
    """The judgement of a window.

    Attributes:
        speech: float32 [n_chunks], the probability of speech in each chunk; the window may not fill the last one.
        n_known: number of its chunks that were judged before.
        state: the state of the network after the last whole chunk.
        peak: the peak by which the window was amplified.
    """

    speech: Floats
    n_known: int
    state: Floats
    peak: float


class SpeechDetector:
    """Detects speech. It keeps no state between windows. The network's state goes with `Analysis`."""

    def __init__(self) -> None:
        self._session = get_vad_model().session
        silence = np.zeros(_CONTEXT_SAMPLES + LEAD_IN_CHUNKS * CHUNK_SAMPLES, np.float32)
        _, self._state_after_silence = self._run(silence, np.zeros((2, _STATE_SIZE), np.float32))

    def analyze(self, samples: Floats, analysis: Analysis | None) -> Judged:
        """Judge the chunks of a window after those of `analysis`, or all if that has another gain or more audio.

        A window is amplified to a peak. At the gain of softer audio, the network takes noise at the beginning for
        speech. At that of louder audio after the window's end, it misses soft speech. See
        docs/decisions/0055-analyzed-once.md.

        Args:
            samples: float32 [n_samples], mono, 16 kHz, -1..1, from the window's beginning on.
            analysis: what was found at the beginning of the same audio; None: nothing.
        """
        peak = max(float(np.abs(samples).max(initial=0.0)), MIN_PEAK)
        n_whole = len(samples) // CHUNK_SAMPLES
        known, state = _NOTHING, self._state_after_silence
        if analysis is not None and analysis.peak == peak and len(analysis.speech) <= n_whole:
            known, state = analysis.speech, analysis.state
        n_new = n_whole - len(known)
        audio = np.pad(samples, (_CONTEXT_SAMPLES, 0))[len(known) * CHUNK_SAMPLES :] * np.float32(PEAK / peak)
        speech, state = self._run(audio[: _CONTEXT_SAMPLES + n_new * CHUNK_SAMPLES], state)
        rest, _ = self._run(np.pad(audio[n_new * CHUNK_SAMPLES :], (0, -len(samples) % CHUNK_SAMPLES)), state)
        return Judged(np.concatenate([known, speech, rest]), len(known), state, peak)

    def _run(self, audio: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Return the probabilities of speech in chunks, and the state after them. Their context precedes them."""
        if len(audio) < _CONTEXT_SAMPLES + CHUNK_SAMPLES:
            return _NOTHING, state
        chunks = np.lib.stride_tricks.sliding_window_view(audio, _CONTEXT_SAMPLES + CHUNK_SAMPLES)[::CHUNK_SAMPLES]
        hidden, cell = state.reshape(2, 1, 1, _STATE_SIZE)
        inputs = {"input": np.ascontiguousarray(chunks), "h": hidden, "c": cell}
        speech, hidden, cell = self._session.run(None, inputs)
        return speech.reshape(-1), np.concatenate([hidden, cell]).reshape(2, _STATE_SIZE)


def speech_of(probabilities: Floats) -> Speech:
    """Evaluate the probabilities [n_chunks] of speech in chunks of `CHUNK_MS`."""
    if not len(probabilities):
        return Speech(0, 0, 0.0)
    total_ms = round(CHUNK_MS * np.count_nonzero(probabilities >= SPEECH_PROBABILITY))
    (likely,) = np.nonzero(probabilities >= SPEECH_GOES_ON_PROBABILITY)
    end_ms = round(CHUNK_MS * (likely[-1] + 1)) if total_ms else 0
    start_ms = round(CHUNK_MS * likely[0]) if total_ms else 0
    return Speech(total_ms, end_ms, float(probabilities.max()), round(CHUNK_MS * _longest_pause(likely)), start_ms)


def _longest_pause(likely: npt.NDArray[np.intp]) -> float:
    """Return the middle of the longest pause between chunks of speech, in chunks; 0: there is none."""
    gaps = np.diff(likely)
    if not len(gaps) or (gaps.max() - 1) * CHUNK_MS < MIN_PAUSE_MS:
        return 0
    longest = int(gaps.argmax())
    return float(likely[longest] + 1 + likely[longest + 1]) / 2
