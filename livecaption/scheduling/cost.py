"""Batches and the time that they took -> what the next one will take."""

from math import exp

MEMORY_S = 4.0
"""Computing after which a batch counts for a third. Counted in computing, not in time: a busy worker learns in seconds
that something changed, an idle one forgets nothing."""
_LEAST_MEMORY = 0.7  # of the weight of the batches before; else a batch of many seconds would stand alone
_FIXED_PER_REQUEST = 1.0
"""What a batch costs beside its requests, in costs of one. tiny.en int8 on one thread, in batches of 1, 4 and 16:
finals of 3 to 9 s take 139, 101 and 94 ms each (0.5), partials of 1 to 8 s 131, 69 and 90 ms (0.8), 7 s clips without
the guard 290, 112 and 95 ms (2.5). Taken for true until batches of different sizes were seen."""
NEARLY_AS_CHEAP = 1.25
"""Partials of tiny.en on a CPU that has no use for batches take 90, 82 and 78 ms in batches of 1, 4 and 8, finals 113,
103 and 102. 24 streams on two such cores show words after 1356 ms with the largest batches within the bounds of
`load_control`, and after 1080 to 1130 ms with single partials (medians)."""
_PRIOR_VARIANCE = 0.5
"""Variance of batch sizes, in requests squared, at which the slope that was seen counts as much as the usual one."""


class BatchCost:
    """Learns `fixed_s + n * per_request_s`, the time of a worker for a batch of `n`.

    Linear regression with forgetting; its slope is drawn to the usual one (ridge), so that batches which are all of
    one size say nothing wrong of others.
    """

    def __init__(self) -> None:
        self.fixed_s = 0.0
        self.per_request_s = 0.0
        self._weight = 0.0
        self._n = self._s = self._nn = self._ns = 0.0  # weighted sums over batches of n requests that took s

    def __bool__(self) -> bool:
        """Whether anything was measured yet."""
        return self._weight > 0.0

    def learn(self, n_requests: int, compute_s: float) -> None:
        """A batch of so many took so long."""
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
        # More than proportional, or none at all, is noise: windows are of different lengths.
        self.per_request_s = min(max(slope, 0.1 * usual), mean_s / mean_n)
        self.fixed_s = mean_s - self.per_request_s * mean_n

    @property
    def mean_s(self) -> float:
        """Seconds that a request took, in batches as they were of late; 0: nothing was measured."""
        return self._s / self._n if self._n else 0.0

    def of(self, n_requests: float) -> float:
        """Seconds that a batch of so many takes."""
        return self.fixed_s + n_requests * self.per_request_s

    def best_within(self, bound_s: float, at_most: int) -> int:
        """Requests in the smallest batch that is nearly as cheap for each as the largest one that takes no longer than
        `bound_s`; at least 1. In a larger one they would wait for each other in vain."""
        if not self.per_request_s:
            return at_most
        largest = max(1, min(at_most, int((bound_s - self.fixed_s) / self.per_request_s)))
        cheap_s = NEARLY_AS_CHEAP * self.of(largest) / largest
        return next(n for n in range(1, largest + 1) if self.of(n) / n <= cheap_s)
