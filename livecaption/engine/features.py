"""Compute the log-mel features that Whisper's encoder takes, each frame of a stream once.

The frames of a growing window are those of the window before it, apart from the last two, so most of them come with the
window. The rest is computed here. The result is that of faster-whisper's `FeatureExtractor` to 5 digits, in a third of
its time: docs/decisions/0055-analyzed-once.md.
"""

import math

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

from livecaption.recognition import FRAME_SAMPLES, Window

Floats = npt.NDArray[np.float32]

SPAN_SAMPLES = 400
"""Samples of a frame: half of them before its middle, which is at a multiple of `FRAME_SAMPLES`."""
_HALF = SPAN_SAMPLES // 2
_N_MIRRORED = 2
"""First frames of a window, which begin before it. The audio there is the window's own beginning, mirrored."""
_SILENCE = -10.0
"""Least log10 of a band's power, as in Whisper."""
_RANGE = 8.0
"""Distance in log10 of power from the loudest band to the softest one that counts, as in Whisper."""
_LEAST_POWER = 1e-20
"""Avoids the logarithm of 0. A window that is amplified later keeps its soft bands."""


def n_whole_frames(n_samples: int) -> int:
    """Return the number of first frames that no further audio changes."""
    return max(0, (n_samples - _HALF) // FRAME_SAMPLES + 1) if n_samples > _HALF else 0


class LogMel:
    """Log-mel features with `n_mels` bands."""

    def __init__(self, n_mels: int) -> None:
        self._n_mels = n_mels
        self._filters: Floats = np.ascontiguousarray(FeatureExtractor(feature_size=n_mels).mel_filters.T)
        self._window: Floats = np.hanning(SPAN_SAMPLES + 1)[:-1].astype(np.float32)
        # The discrete Fourier transform about the middle of a frame, for the sums and the differences of the samples at
        # equal distances from it. The first sample has the weight 0.
        angles = 2 * np.pi / SPAN_SAMPLES * np.outer(np.arange(_HALF), np.arange(_HALF + 1))
        self._cosines: Floats = np.cos(angles).astype(np.float32)
        self._sines: Floats = np.sin(angles[1:]).astype(np.float32)

    def bands(self, samples: Floats, begin: int, end: int) -> Floats:
        """Return log10 of the power in the bands of some frames, float32 [end - begin, n_mels].

        Args:
            samples: float32 [n_samples], 16 kHz. They are followed by silence.
            begin, end: the frames, counted from that in whose middle the first sample is.
        """
        first, last = begin * FRAME_SAMPLES - _HALF, (end - 1) * FRAME_SAMPLES + _HALF
        audio = samples[max(0, first) : max(0, last) + 1]
        audio = np.pad(audio, (0, max(SPAN_SAMPLES, last + 1 - max(0, first)) - len(audio)))
        if first < 0:
            audio = np.concatenate([audio[-first:0:-1], audio])
        spans = np.lib.stride_tricks.sliding_window_view(audio, SPAN_SAMPLES)[::FRAME_SAMPLES][: end - begin]
        spans = spans * self._window
        # A product with matrices takes a third of the time of numpy's FFT.
        before, after = spans[:, _HALF - 1 : 0 : -1], spans[:, _HALF + 1 :]
        sums = np.empty((len(spans), _HALF), np.float32)
        sums[:, 0] = spans[:, _HALF]
        np.add(before, after, out=sums[:, 1:])
        power = np.square(sums @ self._cosines)
        power += np.square((after - before) @ self._sines)
        # numpy's natural logarithm takes a fifth of the time of its log10.
        bands: Floats = np.log(np.maximum(power @ self._filters, np.float32(_LEAST_POWER)))
        bands *= np.float32(1 / math.log(10))
        return bands

    def whole_frames(self, samples: Floats, n_known: int) -> Floats:
        """Return the bands of the frames of a window that no further audio changes, apart from the first `n_known`."""
        n_frames = n_whole_frames(len(samples))
        if n_frames <= n_known:
            return np.empty((0, self._n_mels), np.float32)
        return self.bands(samples, n_known, n_frames)

    def features(self, window: Window, n_frames: int) -> Floats:
        """Return what the encoder takes, float32 [n_mels, n_frames]: the window, after it silence."""
        before, samples = window.preceding, window.samples
        audio = samples if before is None else np.concatenate([before.samples, samples])
        bands = np.full((n_frames, self._n_mels), _SILENCE, np.float32)
        until = min(n_frames, (len(audio) + _HALF - 1) // FRAME_SAMPLES + 1)  # the frames after these are silence
        at = 0
        for begin, known in self._known(window):
            known = known[: max(0, until - begin)]
            if begin > at:
                bands[at:begin] = self.bands(audio, at, begin)
            bands[begin : begin + len(known)] = known
            at = begin + len(known)
        if until > at:
            bands[at:until] = self.bands(audio, at, until)
        floor = max(_SILENCE, float(bands.max(initial=_SILENCE)) - _RANGE)
        np.maximum(bands, np.float32(floor), out=bands)
        bands += 4.0
        bands /= 4.0
        return bands.T

    def _known(self, window: Window) -> list[tuple[int, Floats]]:
        """Return the frames that came with the window: the number of the first one, and their bands."""
        known: list[tuple[int, Floats]] = []
        before, n_before = window.preceding, 0
        if before is not None:
            n_before = len(before.samples)
            if before.analysis is not None:
                known.append((0, before.analysis.bands[: n_whole_frames(n_before - before.n_gap)]))
        analysis = window.analysis
        if analysis is not None and n_before % FRAME_SAMPLES == 0:
            n_mirrored = _N_MIRRORED if n_before else 0
            bands = analysis.bands[n_mirrored : n_whole_frames(len(window.samples))]
            known.append((n_before // FRAME_SAMPLES + n_mirrored, bands))
        return [(begin, bands) for begin, bands in known if len(bands)]
