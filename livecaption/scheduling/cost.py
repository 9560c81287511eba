"""Predict how long a batch will take, from the batches before it.

Figures: docs/decisions/0020-load-control.md, docs/decisions/0053-calibration.md.
"""

from collections.abc import Sequence
from math import exp

from livecaption.recognition import BatchTime

MEMORY_S = 4.0
"""Computing time in s after which the weight of a batch falls to a third. It is not elapsed time: a busy worker adapts
in seconds, and an idle one forgets nothing. Less: noise. More: slower adaptation."""
_LEAST_MEMORY = 0.7  # least weight of the batches before; without it a batch of many seconds would count alone
_FIXED_PER_REQUEST = 1.0
"""Fixed cost of a batch, in costs of one request, where only batches of one size were calibrated. A machine as slow as
that has single requests in its batches, so this hardly matters."""
NEARLY_AS_CHEAP = 1.25
"""Cost of a request in the chosen batch, relative to that in the largest batch. More: smaller batches, so requests wait
less for each other. Less: larger batches, which cost less for each request."""
_CALIBRATION_BATCHES = 20.0
"""Batches as which the calibration counts, at most. More: a fast engine that turns slow is noticed late. Fewer: the
first finals of new streams, which are short, admit too many."""
_LEAST_VARIANCE = 0.5
"""Least variance of batch sizes, in requests squared, at which the measured slope counts as much as the calibrated."""
_LEAST_S = 1e-6  # clocks may show no time for the batch of a scripted engine


class BatchCost:
    """Learns `fixed_s + n * per_request_s`, the worker time for a batch of `n`.

    It begins with batches that were timed while the model loaded. From then on it is a linear regression that forgets.
    Its slope is drawn to the calibrated one (ridge regression), in the proportion to the mean that it had there. So the
    level follows the machine at once, and batches that all have one size do not mislead about other sizes.

    Args:
        calibration: the batches that were timed; at least one.
    """

    def __init__(self, calibration: Sequence[BatchTime]) -> None:
        mean_s = sum(max(_LEAST_S, each.compute_s) for each in calibration) / len(calibration)
        # As many batches as a worker remembers that has computed nothing else.
        weight = min(_CALIBRATION_BATCHES, max(1.0, MEMORY_S / mean_s)) / len(calibration)
        self._weight = 0.0
        self._n = self._s = self._nn = self._ns = 0.0  # weighted sums over batches of n requests that took s
        self._fixed_per_request = _FIXED_PER_REQUEST
        self._prior_variance = 0.0
        for each in calibration:
            self._add(each.n_windows, max(_LEAST_S, each.compute_s), weight)
        self.fixed_s, self.per_request_s = self._line()
        self._fixed_per_request = self.fixed_s / self.per_request_s
        self._prior_variance = max(_LEAST_VARIANCE, self._nn / self._weight - (self._n / self._weight) ** 2)

    def learn(self, n_requests: int, compute_s: float) -> None:
        """Take the measured time of a batch."""
        compute_s = max(_LEAST_S, compute_s)
        memory = max(_LEAST_MEMORY, exp(-compute_s / MEMORY_S))
        self._weight *= memory
        self._n *= memory
        self._s *= memory
        self._nn *= memory
        self._ns *= memory
        self._add(n_requests, compute_s, 1.0)
        self.fixed_s, self.per_request_s = self._line()

    def _add(self, n_requests: int, compute_s: float, weight: float) -> None:
        self._weight += weight
        self._n += weight * n_requests
        self._s += weight * compute_s
        self._nn += weight * n_requests * n_requests
        self._ns += weight * n_requests * compute_s

    def _line(self) -> tuple[float, float]:
        """Return the fixed cost and that of a request."""
        mean_n, mean_s = self._n / self._weight, self._s / self._weight
        variance = max(0.0, self._nn / self._weight - mean_n * mean_n)
        covariance = self._ns / self._weight - mean_n * mean_s
        usual = mean_s / (self._fixed_per_request + mean_n)
        weight = self._prior_variance
        slope = (covariance + weight * usual) / (variance + weight) if variance + weight else usual
        # A cost that grows more than proportionally, or not at all, is noise, because windows differ in length.
        per_request_s = min(max(slope, 0.1 * usual), mean_s / mean_n)
        return mean_s - per_request_s * mean_n, per_request_s

    def of(self, n_requests: float) -> float:
        """Return the seconds that a batch of `n_requests` takes."""
        return self.fixed_s + n_requests * self.per_request_s

    def each(self, n_requests: float) -> float:
        """Return the seconds for one request in a batch of `n_requests`."""
        return self.of(n_requests) / n_requests

    def largest_within(self, bound_s: float, at_most: int) -> int:
        """Return the size of the largest batch that takes at most `bound_s`; at least 1."""
        return max(1, min(at_most, int((bound_s - self.fixed_s) / self.per_request_s)))

    def best_within(self, bound_s: float, at_most: int) -> int:
        """Return the size of the smallest batch in which a request is nearly as cheap as in the largest batch.

        The largest batch is the one that takes at most `bound_s`. The result is at least 1. In a larger batch than this
        requests would wait for each other without a gain.
        """
        largest = self.largest_within(bound_s, at_most)
        cheap_s = NEARLY_AS_CHEAP * self.each(largest)
        return next(n for n in range(1, largest + 1) if self.each(n) <= cheap_s)
