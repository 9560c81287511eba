"""Bound batches by the memory of the devices. Pure."""

RETRY_AFTER_S = 60.0
"""Time in s after which twice as many windows are tried again. The memory may have been another program's for a moment.
Shorter: if it was not, more batches are computed in halves. Longer: batches stay small for longer than necessary."""


class MemoryLimit:
    """The largest batch for which memory is enough, as far as that is known. Time is an argument.

    Args:
        max_batch: windows in a batch while memory was never short.
    """

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._fits = max_batch
        self._learned_s = 0.0

    def learn(self, fits: int, now_s: float) -> None:
        """Learn that memory was enough for `fits` windows, and not for twice as many."""
        self._fits = min(fits, self.windows(now_s))
        self._learned_s = now_s

    def windows(self, now_s: float) -> int:
        """Return the number of windows in a batch, at most."""
        doublings = int((now_s - self._learned_s) / RETRY_AFTER_S)
        return min(self._max_batch, self._fits << min(doublings, self._max_batch))
