"""How much of something a peer may use: so much a second, and a stock for bursts (a token bucket). Pure.

Turner 1986, "New Directions in Communications"; what exceeds it is delayed, not refused.
"""


class Allowance:
    """One peer's use of one thing.

    Args:
        per_s: what is allowed in the long run.
        burst: what may be used at once after a pause.
        now_s: monotonic.
    """

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_s = now_s

    def use(self, amount: float, now_s: float) -> float:
        """Take note of a use; returns for how many seconds the peer must wait before the next one."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s) - amount
        self._at_s = now_s
        return max(0.0, -self._left / self._per_s)
