"""The restart policy decides how long to wait before a dead worker is started again. Pure.

The first restart is immediate, because most deaths are accidents. Exponential back-off with full jitter follows
(Brooker 2015, "Exponential Backoff And Jitter"), so that workers that died of one cause do not start together. Five
deaths within a minute open the circuit breaker (systemd allows 5 in 10 s, Erlang/OTP 1 in 5 s). While it is open, the
server reports `failed` and starts a worker once every 30 s, until one of them is healthy. After the death of a healthy
worker, the next one starts immediately.
"""

from collections import deque
from dataclasses import dataclass

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A worker is healthy after this time in service, even without an answer, because nobody may have spoken."""
HEALTHY_BUSY_S = 5.0
HEALTHY_BATCHES = 3
"""A worker that answered this many batches is healthy after `HEALTHY_BUSY_S`. The number exceeds the batches in flight,
so that some were sent after the first answer. It is small, because a publisher without partials has one batch each 5 s.
The time keeps a fast worker that dies again and again from being started more often than every 5 s."""
BREAKER_DEATHS = 5
BREAKER_WINDOW_S = 60.0
HALF_OPEN_INTERVAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Restart:
    """The delay before the next start, and whether the breaker is open meanwhile."""

    delay_s: float
    breaker_open: bool


def is_healthy(served_s: float, n_answered: int) -> bool:
    """Return True if a worker process did useful work.

    Args:
        served_s: time from the loaded model to the end of the process; 0 if the model was never loaded.
        n_answered: batches that it transcribed.
    """
    return served_s >= (HEALTHY_BUSY_S if n_answered >= HEALTHY_BATCHES else HEALTHY_AFTER_S)


class RestartPolicy:
    """Records the deaths of one worker's successive processes."""

    def __init__(self) -> None:
        self._deaths_s: deque[float] = deque(maxlen=BREAKER_DEATHS)
        self._n_failures = 0
        self._breaker_open = False

    def next_restart(self, now_s: float, *, healthy: bool, random: float) -> Restart:
        """Record a death at `now_s` (monotonic) and decide about the next start. `random` is from 0 to 1."""
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
