"""Turn audio into embeddings of voices by a network on ONNX Runtime, on the CPU.

The installed network has frames, so that each stretch of audio has an embedding after one pass. A network of another
file takes a filterbank [1, n_frames, 80] and gives an embedding [1, n]. It gets windows of `WINDOW_MS`, and a stretch
has the mean of those in it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from livecaption.audio import ms_of, samples_of
from livecaption.engine.filterbank import N_BANDS, filterbank
from livecaption.errors import EngineUnusable
from livecaption.recognition import MAX_EMBEDDING

# See `speech_detection`. ONNX Runtime is imported after this, when a network is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

Floats = npt.NDArray[np.float32]
Span = tuple[int, int]
"""A stretch of audio: its begin and end in ms."""

FRAME_MS = 20
"""Distance of the frames of the installed network."""
WINDOW_MS = 1500
STEP_MS = 750
"""Length of the windows of other networks, and the distance from one to the next."""
SHORTEST_MS = 300
"""Length to which shorter audio is filled up with silence."""
MIN_FRAMES = 10
"""Frames of a stretch, at least: the deviation of fewer means nothing."""


class AnalyzedSpeech(Protocol):
    """Audio that a network has analyzed."""

    def voices(self, spans: Sequence[Span]) -> Floats:
        """Return the embeddings of some stretches, float32 [n_spans, n_numbers], each of length 1."""
        ...


class VoiceModel(Protocol):
    """A loaded network.

    Attributes:
        same: cosine of the voices of two neighbouring stretches below which two people speak.
    """

    same: float

    def analyze(self, samples: Floats) -> AnalyzedSpeech:
        """Compute all that the embeddings of its stretches need. The audio is float32 [n_samples], 16 kHz."""
        ...


def load_voice_model(path: Path) -> VoiceModel:
    """Load the network in a file, and run it with filterbanks of two lengths.

    Raises:
        EngineUnusable: the file has no network for voices.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # only errors; it warns of what it cannot simplify
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (bands,) = session.get_inputs()
        outputs = [output.name for output in session.get_outputs()]
        noise = np.random.default_rng(0).normal(size=(1, WINDOW_MS // 10, N_BANDS)).astype(np.float32)
        made = session.run(None, {bands.name: noise})
        shorter = session.run(outputs[:1], {bands.name: noise[:, : SHORTEST_MS // 10]})[0]
    except Exception as error:  # ONNX Runtime has classes of its own for each kind of failure
        raise EngineUnusable(f"{path} is not a network for voices: {_first_line(error)}") from error
    embedding = made[0]
    is_vector = embedding.ndim == 2 and embedding.shape[0] == 1 and 2 <= embedding.shape[1] <= MAX_EMBEDDING
    if not is_vector or embedding.shape != shorter.shape:
        raise EngineUnusable(
            f"{path} is not a network for voices: it makes numbers of shape {list(embedding.shape)} of a filterbank "
            f"[1, {noise.shape[1]}, {N_BANDS}], and not [1, n] of any, with n from 2 to {MAX_EMBEDDING}"
        )
    if not np.isfinite(embedding).all():
        raise EngineUnusable(f"{path} is not a network for voices: it computes no numbers (NaN)")
    if outputs[1:] == ["frames", "pooling"]:
        return FrameModel(session, bands.name, made[2])
    return WindowModel(session, bands.name, outputs[0])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


class FrameModel:
    """The installed network.

    Args:
        session: a session of ONNX Runtime.
        bands: the name of its input.
        pooling: float32 [n_numbers, 2 * n + 1]: makes an embedding of the mean and the deviation of n numbers, and 1.
    """

    same = 0.55

    def __init__(self, session: Any, bands: str, pooling: Floats) -> None:
        self._session = session
        self._bands = bands
        self._pooling = pooling

    def analyze(self, samples: Floats) -> AnalyzedSpeech:
        """See `VoiceModel`."""
        bands = filterbank(_filled(samples))
        [[frames]] = self._session.run(["frames"], {self._bands: bands[np.newaxis]})
        return AnalyzedFrames(frames, self._pooling)


class AnalyzedFrames:
    """A `AnalyzedSpeech` with frames, float32 [n, n_frames]."""

    def __init__(self, frames: Floats, pooling: Floats) -> None:
        self._pooling = pooling
        zero = np.zeros((len(frames), 1))
        self._sums = np.hstack([zero, np.cumsum(frames, axis=1, dtype=np.float64)])
        self._squares = np.hstack([zero, np.cumsum(np.square(frames), axis=1, dtype=np.float64)])

    def voices(self, spans: Sequence[Span]) -> Floats:
        """See `AnalyzedSpeech`."""
        n_frames = self._sums.shape[1] - 1
        begin, end = np.array(spans).reshape(-1, 2).T // FRAME_MS
        end = np.minimum(np.maximum(end, begin + MIN_FRAMES), n_frames)
        begin = np.minimum(begin, np.maximum(end - MIN_FRAMES, 0))
        n = end - begin
        mean = (self._sums[:, end] - self._sums[:, begin]) / n
        squares = (self._squares[:, end] - self._squares[:, begin]) / n - np.square(mean)
        deviation = np.sqrt(np.maximum(squares, 0.0) * n / np.maximum(n - 1, 1))
        statistics = np.concatenate([mean, deviation, np.ones((1, len(n)))]).astype(np.float32)
        return _unit((self._pooling @ statistics).T)


class WindowModel:
    """A network of another file."""

    same = 0.35

    def __init__(self, session: Any, bands: str, embedding: str) -> None:
        self._session = session
        self._bands = bands
        self._embedding = embedding

    def analyze(self, samples: Floats) -> AnalyzedSpeech:
        """See `VoiceModel`. The last window ends with the audio."""
        samples = _filled(samples)
        length, step = samples_of(WINDOW_MS), samples_of(STEP_MS)
        last = max(0, len(samples) - length)
        begins = [*range(0, last, step), last]
        windows = [filterbank(samples[begin : begin + length]) for begin in begins]
        made = [self._session.run([self._embedding], {self._bands: bands[np.newaxis]})[0][0] for bands in windows]
        middles_ms = [ms_of(begin) + WINDOW_MS // 2 for begin in begins]
        return AnalyzedWindows(np.array(middles_ms), _unit(np.array(made)))


class AnalyzedWindows:
    """A `AnalyzedSpeech` with the embeddings of windows, float32 [n_windows, n_numbers], around these times in ms."""

    def __init__(self, middles_ms: npt.NDArray[np.int_], embeddings: Floats) -> None:
        self._middles_ms = middles_ms
        self._embeddings = embeddings

    def voices(self, spans: Sequence[Span]) -> Floats:
        """See `AnalyzedSpeech`. A stretch without the middle of a window has the nearest one."""
        return _unit(np.array([self._embeddings[self._within(*span)].mean(axis=0) for span in spans]))

    def _within(self, begin_ms: int, end_ms: int) -> npt.NDArray[np.int_]:
        (within,) = np.nonzero((begin_ms <= self._middles_ms) & (self._middles_ms < end_ms))
        if len(within):
            return within
        return np.array([np.abs(self._middles_ms - (begin_ms + end_ms) / 2).argmin()])


def _filled(samples: Floats) -> Floats:
    return np.pad(samples, (0, max(0, samples_of(SHORTEST_MS) - len(samples))))


def _unit(vectors: Floats) -> Floats:
    """Return the rows with length 1. A row of zeros has no direction, and becomes NaN."""
    with np.errstate(invalid="ignore"):
        unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
