"""Mix channels to mono, and notice when they cancel each other. Pure.

Mono is the mean of the channels. If one of them is wired the wrong way round, the mean of what both have in common is
nothing. Then one channel is taken instead.

The energy of the mean is compared with that of channels that have nothing in common, which is the sum of theirs over
the square of their number. The ratio is 1 for those, also if all but one are silent; up to `n_channels` for equal ones;
0 for opposite ones. Constants: docs/decisions/0032-cancelling-channels.md.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK_MS = 20
"""A decision holds from the next block on, so nothing is delayed."""
FAST_MS, SLOW_MS = 100, 5000
"""Time constants of the energies. The fast ones notice that channels cancel. The slow ones notice that they no longer
do: pauses, in which only noise is left, must not count, because the next word would begin with a wrong mix."""
CANCELS_BELOW, ADDS_ABOVE = 0.1, 0.5
"""Ratios of energies at which one channel is taken, and the mean again."""
OTHER_IS_LOUDER = 2.0
"""The mean is also taken if another channel has this many times the energy of the one that is taken."""
SILENCE = 1e-7
"""Mean square of a channel below which nothing is noticed: -70 dB of full scale."""

_Channels = npt.NDArray[np.floating[Any]]


class Downmixer:
    """Mixer of one stream. The output does not depend on how the stream is cut, and is not delayed.

    Args:
        n_channels: 1 or more.
        sample_rate_hz: the sample rate of the stream.
    """

    def __init__(self, n_channels: int, sample_rate_hz: int) -> None:
        self._n_channels = n_channels
        self._block = max(1, sample_rate_hz * BLOCK_MS // 1000)
        self._keep_fast, self._keep_slow = (float(np.exp(-BLOCK_MS / tau_ms)) for tau_ms in (FAST_MS, SLOW_MS))
        self._n_in_block = 0
        self._block_energy = np.zeros(n_channels + 1)  # that of each channel, and of the mean
        self._fast = np.zeros(n_channels + 1)
        self._slow = np.zeros(n_channels + 1)
        self._taken: int | None = None
        """The channel that is taken instead of the mean."""

    def push(self, channels: _Channels) -> npt.NDArray[np.float32]:
        """Mix samples [n_samples, n_channels], -1..1, to float32 [n_samples]."""
        if self._n_channels == 1:
            mono: npt.NDArray[np.float32] = channels[:, 0].astype(np.float32, copy=False)
            return mono
        # A row for each channel, and one for the mean.
        rows: _Channels = np.empty((self._n_channels + 1, len(channels)), channels.dtype)
        rows[:-1] = channels.T
        mean = rows[-1]
        mean[:] = rows[0]
        for channel in rows[1:-1]:
            mean += channel  # the order of numpy's own sum depends on the number of samples
        mean /= self._n_channels
        mixed: npt.NDArray[np.float32] = mean.astype(np.float32)
        if not mixed.size:
            return mixed
        begins = [0, *range(self._block - self._n_in_block, len(mixed), self._block)]
        energies = np.add.reduceat(np.square(rows), begins, axis=1, dtype=np.float64).T
        for begin, end, energy in zip(begins, [*begins[1:], len(mixed)], energies, strict=True):
            if self._taken is not None:
                mixed[begin:end] = rows[self._taken, begin:end]
            self._block_energy += energy
            self._n_in_block += end - begin
            if self._n_in_block == self._block:
                self._decide()
        return mixed

    def _decide(self) -> None:
        """Decide on the next block, now that one is complete."""
        energy = self._block_energy / self._block
        self._block_energy[:] = 0.0
        self._n_in_block = 0
        self._fast = self._keep_fast * self._fast + (1 - self._keep_fast) * energy
        self._slow = self._keep_slow * self._slow + (1 - self._keep_slow) * energy
        loudest = int(self._fast[:-1].argmax())
        if self._taken is None:
            if self._fast[loudest] > SILENCE and self._ratio(self._fast) < CANCELS_BELOW:
                self._taken = loudest
                self._slow = energy * (1 - self._keep_slow)  # energies of before are no evidence of now
        elif self._ratio(self._slow) > ADDS_ABOVE or self._fast[loudest] > OTHER_IS_LOUDER * self._fast[self._taken]:
            self._taken = None

    def _ratio(self, energy: npt.NDArray[np.float64]) -> float:
        total = float(energy[:-1].sum())
        return float(energy[-1]) * self._n_channels**2 / total if total else 1.0
