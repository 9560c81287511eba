"""Compute Kaldi's filterbank, the features that networks for voices take: 80 logarithms of power each 10 ms.

The mean of each column is removed, so that neither the level nor the microphone counts. Networks that were trained with
samples of another scale or another window can share the features for that reason.
"""

import numpy as np
import numpy.typing as npt

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.recognition import FRAME_SAMPLES

Floats = npt.NDArray[np.float32]

N_BANDS = 80
_SPAN_SAMPLES = 400
_FFT_SAMPLES = 512
_LOWEST_HZ = 20.0
_PREEMPHASIS = 0.97
_SCALE = 32768.0
"""Kaldi takes 16-bit samples. The scale counts for the least power only."""
_LEAST_POWER = 1.1920929e-07
"""Kaldi's: the distance from 1 to the next float32."""


def _mel(frequency_hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return 1127.0 * np.log1p(np.asarray(frequency_hz, np.float64) / 700.0)


def _triangles() -> Floats:
    """Return the weights of frequencies in bands, float32 [257, 80]: triangles on the mel scale."""
    edges = np.linspace(_mel(_LOWEST_HZ), _mel(SAMPLE_RATE_HZ / 2), N_BANDS + 2)
    bins = _mel(np.arange(_FFT_SAMPLES // 2 + 1) * SAMPLE_RATE_HZ / _FFT_SAMPLES)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[:, -1] = 0  # Kaldi leaves out the highest frequency
    return weights.T.astype(np.float32)


_TRIANGLES = _triangles()
_WINDOW = (np.hanning(_SPAN_SAMPLES) ** 0.85).astype(np.float32)
"""Kaldi's window, named after Povey."""


def filterbank(samples: Floats) -> Floats:
    """Return the features of audio, float32 [n_frames, 80], with columns whose mean is 0.

    Args:
        samples: float32 [n_samples], 16 kHz, at least 25 ms.
    """
    spans = np.lib.stride_tricks.sliding_window_view(samples * np.float32(_SCALE), _SPAN_SAMPLES)[::FRAME_SAMPLES]
    spans = spans - spans.mean(axis=1, keepdims=True)
    spans -= np.float32(_PREEMPHASIS) * np.concatenate([spans[:, :1], spans[:, :-1]], axis=1)
    power = np.square(np.abs(np.fft.rfft(spans * _WINDOW, _FFT_SAMPLES))).astype(np.float32)
    bands: Floats = np.log(np.maximum(power @ _TRIANGLES, np.float32(_LEAST_POWER)))
    bands -= bands.mean(axis=0)
    return bands
