"""How long to wait before a dead worker is started again. Pure.

The first restart is at once, since most deaths are accidents; then exponential back-off with full
jitter (Brooker 2015, "Exponential Backoff And Jitter"), so that several workers that died of one
cause do not come back together. Five deaths within a minute open the breaker (systemd allows 5 in
10 s, Erlang/OTP 1 in 5 s): the server says `failed` and tries once every 30 s, until one of these
tries was healthy. The deaths of a healthy one are accidents again: it is restarted at once.
"""

from collections import deque
from dataclasses import dataclass

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A worker is healthy after so long in service, even if it answered nothing: nobody may have spoken."""
HEALTHY_BUSY_S = 5.0
HEALTHY_BATCHES = 3
"""So much service is enough for one that answered so many batches. More than are in flight at a time, so that it was
sent some after it had answered; few, for a publisher without partials has a batch each 5 s. And for 5 s, so that a
worker that works fast and dies again and again is not started more often than that."""
BREAKER_DEATHS = 5
BREAKER_WINDOW_S = 60.0
HALF_OPEN_INTERVAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Restart:
    """When to start again, and whether the breaker is open meanwhile."""

    delay_s: float
    breaker_open: bool


def is_healthy(served_s: float, n_answered: int) -> bool:
    """Whether an incarnation was of use.

    Args:
        served_s: since it had loaded its model; 0: it had not.
        n_answered: batches that it transcribed.
    """
    return served_s >= (HEALTHY_BUSY_S if n_answered >= HEALTHY_BATCHES else HEALTHY_AFTER_S)


class RestartPolicy:
    """Remembers the deaths of one worker's incarnations."""

    def __init__(self) -> None:
        self._deaths_s: deque[float] = deque(maxlen=BREAKER_DEATHS)
        self._n_failures = 0
        self._breaker_open = False

    def next_restart(self, now_s: float, *, healthy: bool, random: float) -> Restart:
        """An incarnation died at `now_s` (monotonic); `random` is from 0 to 1."""
        if healthy:
            self._n_failures, self._breaker_open = 0, False
            self._deaths_s.clear()
        self._n_failures += 1
        self._deaths_s.append(now_s)
        if len(self._deaths_s) == BREAKER_DEATHS and now_s - self._deaths_s[0] <= BREAKER_WINDOW_S:
            self._breaker_open = True
        if self._breaker_open:
            return Restart(HALF_OPEN_INTERVAL_S, breaker_open=True)
        if self._n_failures == 1:
            return Restart(0.0, breaker_open=False)
        ceiling_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (self._n_failures - 2))
        return Restart(ceiling_s * random, breaker_open=False)
