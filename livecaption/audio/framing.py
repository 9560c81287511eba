"""Cut samples at 16 kHz into frames of 20 ms. Each sample is in exactly one frame. Measure the energy of frames."""

import numpy as np
import numpy.typing as npt

from livecaption.audio import FRAME_MS, FRAME_SAMPLES
from livecaption.audio.formats import Samples

Frames = npt.NDArray[np.float32]
"""float32 [n_frames, FRAME_SAMPLES], mono, 16 kHz, -1..1."""

_NOTHING: Samples = np.empty(0, np.float32)
OFFSET_MS = 2_000
"""Time constant of the offset in ms. Shorter: low sounds count as an offset. Longer: an offset that begins within the
stream counts as noise for longer."""
_WEIGHT = FRAME_MS / OFFSET_MS
_EACH = np.full(FRAME_SAMPLES, 1 / FRAME_SAMPLES, np.float32)


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


class EnergyMeter:
    """Meter of the energy of one stream's frames: the sum of their squared deviations from a constant offset.

    Many sound cards add an offset, which is no sound: see docs/decisions/0072-offset.md.
    """

    def __init__(self) -> None:
        self._offset = 0.0  # the mean of the recent frames
        self._weight = 1.0  # of the next frame: 1, 1/2, 1/3, ... down to `_WEIGHT`

    def measure(self, frames: Frames) -> list[float]:
        """Return the energy of each frame. It must receive every frame once, in order."""
        squares = np.einsum("fs,fs->f", frames, frames).tolist()
        # The order of additions must not depend on the number of frames, as that of `frames @ _EACH` does.
        means = np.einsum("fs,s->f", frames, _EACH).tolist()
        offset, weight = self._offset, self._weight
        energies = []
        for square, mean in zip(squares, means, strict=True):
            offset += weight * (mean - offset)
            if weight > _WEIGHT:
                weight /= 1 + weight
            energies.append(square + FRAME_SAMPLES * offset * (offset - 2 * mean))
        self._offset, self._weight = offset, weight
        return energies
