"""Samples at any rate -> samples at 16 kHz.

Streaming: the same samples in any chunking give the same output, bit for bit (libsoxr keeps its filter's state),
so there are no clicks between chunks.
"""

import numpy as np
import soxr

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.audio.formats import Samples

QUALITY = "HQ"
"""libsoxr's quality: flat to 7.5 kHz, -0.4 dB there, aliases below -130 dB.

Measured with 20 ms chunks, median / worst age of the newest sample out, CPU time for a chunk:

    from 48 kHz:  LQ 11 / 20 ms, 5 us;  HQ 21 / 37 ms, 5 us;  VHQ 43 / 76 ms, 6 us;  variable-rate 13 / 13 ms, 52 us
    from  8 kHz:  LQ 33 / 61 ms, 3 us;  HQ 64 / 115 ms, 4 us

LQ is 10 ms (telephone: 30 ms) younger, but 3 dB down at 6.5 kHz and 35 dB at 7.5 kHz, where s and f are told apart
(telephone: 8 dB at 3.4 kHz). MQ is as old as HQ. Variable-rate mode costs ten times as much.
"""


class Resampler:
    """One stream's samples -> 16 kHz. At 16 kHz samples pass through."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._stream = (
            None
            if sample_rate_hz == SAMPLE_RATE_HZ
            else soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality=QUALITY)
        )

    def push(self, samples: Samples) -> Samples:
        """float32 [n_samples], mono, 16 kHz: what can be told already; the rest comes with later pushes."""
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples)
        return resampled

    def flush(self) -> Samples:
        """The rest, at the end of the stream. A push after it begins a new stream."""
        rest: Samples = np.empty(0, np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
            self._stream.clear()
        return rest
