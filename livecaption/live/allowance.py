"""A limit on the use of something: an amount a second, and a stock for bursts (a token bucket). Pure.

Source: Turner 1986, "New Directions in Communications". Use beyond the limit is delayed, not refused.
"""

BYTES_OF_A_MESSAGE = 64 * 1024
"""Bytes by which a message counts as one more. Less: audio that may come at once waits. More: large messages without
meaning take more of the loop."""
MAX_CHARACTER_BYTES = 4
"""The longest character in UTF-8 (RFC 3629)."""


def extra_messages(message: str | bytes) -> int:
    """Return how many messages more a large one counts. A text that is not ASCII counts as one of long characters."""
    n_extra = len(message) // BYTES_OF_A_MESSAGE
    return n_extra * MAX_CHARACTER_BYTES if n_extra and isinstance(message, str) and not message.isascii() else n_extra


class Allowance:
    """One peer's use of one thing.

    Args:
        per_s: the amount that is allowed in the long run.
        burst: the amount that may be used at once after a pause.
        now_s: the monotonic time.
    """

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_s = now_s

    def use(self, amount: float, now_s: float) -> float:
        """Note a use; return for how many seconds the peer must wait before the next one."""
        left = self._left + (now_s - self._at_s) * self._per_s
        self._left = left = (left if left < self._burst else self._burst) - amount  # `min` takes longer
        self._at_s = now_s
        return 0.0 if left >= 0 else -left / self._per_s
