"""Cut samples at 16 kHz into frames of 20 ms. Each sample is in exactly one frame."""

import numpy as np
import numpy.typing as npt

from livecaption.audio import FRAME_SAMPLES
from livecaption.audio.formats import Samples

Frames = npt.NDArray[np.float32]
"""float32 [n_frames, FRAME_SAMPLES], mono, 16 kHz, -1..1."""

_NOTHING: Samples = np.empty(0, np.float32)


class Framer:
    """Cutter of one stream's chunks, which have any length, into frames."""

    def __init__(self) -> None:
        self._rest: Samples = _NOTHING

    def push(self, samples: Samples) -> Frames:
        """Return float32 [n_frames, 320], maybe no frame. The result may share memory with `samples`."""
        if self._rest.size:
            samples = np.concatenate((self._rest, samples))
        n_frames, n_rest = divmod(samples.size, FRAME_SAMPLES)
        if not n_rest:
            self._rest = _NOTHING
            return samples.reshape(n_frames, FRAME_SAMPLES)
        # A copy, because a view of 20 ms would keep a large chunk in memory.
        self._rest = samples[samples.size - n_rest :].copy()
        return samples[: samples.size - n_rest].reshape(n_frames, FRAME_SAMPLES)

    def flush(self) -> Frames:
        """Return the remaining samples, padded with zeros: float32 [0 or 1, 320]."""
        n_padding = -self._rest.size % FRAME_SAMPLES
        rest, self._rest = self._rest, _NOTHING
        return np.pad(rest, (0, n_padding)).reshape(-1, FRAME_SAMPLES)
