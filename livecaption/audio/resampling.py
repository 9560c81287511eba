"""Resample from any rate to 16 kHz.

The same samples in any chunks give the same output, bit for bit, because libsoxr keeps its filter's state. So there are
no clicks between chunks.
"""

import numpy as np
import soxr

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.audio.formats import Samples

QUALITY = "HQ"
"""libsoxr's quality: flat to 7.5 kHz, -0.4 dB there, aliases below -130 dB. Lower: less delay, but the frequencies that
distinguish s from f are lost. Higher: more delay. Figures: docs/decisions/0010-resampling.md."""


class Resampler:
    """Resampler of one stream to 16 kHz. Samples that already have this rate pass through.

    Args:
        sample_rate_hz: the rate of the stream.
        n_channels: channels that are kept apart; None: the samples are mono.
    """

    def __init__(self, sample_rate_hz: int, n_channels: int | None = None) -> None:
        self._shape = (0,) if n_channels is None else (0, n_channels)
        self._stream = (
            None
            if sample_rate_hz == SAMPLE_RATE_HZ
            else soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, n_channels or 1, dtype="float32", quality=QUALITY)
        )

    def push(self, samples: Samples) -> Samples:
        """Return float32 samples at 16 kHz: the output so far. Later pushes return the rest."""
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples)
        return resampled

    def flush(self) -> Samples:
        """Return the rest, at the end of the stream. The next push begins a new stream."""
        rest: Samples = np.empty(self._shape, np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
            self._stream.clear()
        return rest
