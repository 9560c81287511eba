"""Predict how long a batch will take, from the batches before it. Figures: docs/decisions/0020-load-control.md."""

from math import exp

MEMORY_S = 4.0
"""Computing time in s after which the weight of a batch falls to a third. It is not elapsed time: a busy worker adapts
in seconds, and an idle one forgets nothing. Less: noise. More: slower adaptation."""
_LEAST_MEMORY = 0.7  # least weight of the batches before; without it a batch of many seconds would count alone
_FIXED_PER_REQUEST = 1.0
"""Fixed cost of a batch, in costs of one request. It holds until batches of different sizes were measured."""
NEARLY_AS_CHEAP = 1.25
"""Cost of a request in the chosen batch, relative to that in the largest batch. More: smaller batches, so requests wait
less for each other. Less: larger batches, which cost less for each request."""
_PRIOR_VARIANCE = 0.5
"""Variance of batch sizes, in requests squared, at which the measured slope counts as much as the usual one."""


class BatchCost:
    """Learns `fixed_s + n * per_request_s`, the worker time for a batch of `n`.

    It is a linear regression that forgets. Its slope is drawn to the usual one (ridge regression). So batches that all
    have one size do not mislead about other sizes.
    """

    def __init__(self) -> None:
        self.fixed_s = 0.0
        self.per_request_s = 0.0
        self._weight = 0.0
        self._n = self._s = self._nn = self._ns = 0.0  # weighted sums over batches of n requests that took s

    def __bool__(self) -> bool:
        """Return whether anything was measured yet."""
        return self._weight > 0.0

    def learn(self, n_requests: int, compute_s: float) -> None:
        """Take the measured time of a batch."""
        memory = max(_LEAST_MEMORY, exp(-compute_s / MEMORY_S))
        self._weight = memory * self._weight + 1.0
        self._n = memory * self._n + n_requests
        self._s = memory * self._s + compute_s
        self._nn = memory * self._nn + n_requests * n_requests
        self._ns = memory * self._ns + n_requests * compute_s
        mean_n, mean_s = self._n / self._weight, self._s / self._weight
        variance = max(0.0, self._nn / self._weight - mean_n * mean_n)
        covariance = self._ns / self._weight - mean_n * mean_s
        usual = mean_s / (_FIXED_PER_REQUEST + mean_n)
        slope = (covariance + _PRIOR_VARIANCE * usual) / (variance + _PRIOR_VARIANCE)
        # A cost that grows more than proportionally, or not at all, is noise, because windows differ in length.
        self.per_request_s = min(max(slope, 0.1 * usual), mean_s / mean_n)
        self.fixed_s = mean_s - self.per_request_s * mean_n

    @property
    def mean_s(self) -> float:
        """Seconds for one request, in batches as they recently were; 0: nothing was measured."""
        return self._s / self._n if self._n else 0.0

    def of(self, n_requests: float) -> float:
        """Return the seconds that a batch of `n_requests` takes."""
        return self.fixed_s + n_requests * self.per_request_s

    def largest_within(self, bound_s: float, at_most: int) -> int:
        """Return the size of the largest batch that takes at most `bound_s`; at least 1."""
        if not self.per_request_s:
            return at_most
        return max(1, min(at_most, int((bound_s - self.fixed_s) / self.per_request_s)))

    def best_within(self, bound_s: float, at_most: int) -> int:
        """Return the size of the smallest batch in which a request is nearly as cheap as in the largest batch.

        The largest batch is the one that takes at most `bound_s`. The result is at least 1. In a larger batch than this
        requests would wait for each other without a gain.
        """
        largest = self.largest_within(bound_s, at_most)
        if not self.per_request_s:
            return largest
        cheap_s = NEARLY_AS_CHEAP * self.of(largest) / largest
        return next(n for n in range(1, largest + 1) if self.of(n) / n <= cheap_s)
