"""The restart policy decides how long to wait before a dead worker is started again. Pure.

The first restart is immediate, because most deaths are accidents. Exponential back-off with full jitter follows
(Brooker 2015, "Exponential Backoff And Jitter"), so that workers that died of one cause do not start together. Five
deaths within a minute open the circuit breaker. While it is open, the server reports `failed` and starts a worker once
every 30 s, until one of them is healthy. After the death of a healthy worker, the next one starts immediately.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartConfig:
    """The back-off, the circuit breaker, and the bounds of a healthy worker.

    Attributes:
        first_delay_s: largest delay before the second restart. It doubles with each further one.
        max_delay_s: largest delay while the breaker is closed.
        healthy_after_s: a worker is healthy after this time in service, even without an answer, because nobody may have
            spoken.
        healthy_busy_s: a worker that answered `healthy_batches` is healthy after this time. It keeps a fast worker that
            dies again and again from being started more often.
        healthy_batches: the number exceeds the batches in flight, so that some were sent after the first answer. It is
            small, because a publisher without partials has one batch each 5 s.
        breaker_deaths: so many deaths within `breaker_window_s` open the breaker (systemd allows 5 in 10 s, Erlang/OTP
            1 in 5 s).
        breaker_window_s: see `breaker_deaths`.
        half_open_interval_s: time between two starts while the breaker is open.
        memory_patience_s: time after the first load without enough memory for which such loads do not count as deaths.
        memory_retries: loads that do not count either, however long they take.
    """

    first_delay_s: float = 0.5
    max_delay_s: float = 30.0
    healthy_after_s: float = 60.0
    healthy_busy_s: float = 5.0
    healthy_batches: int = 3
    breaker_deaths: int = 5
    breaker_window_s: float = 60.0
    half_open_interval_s: float = 30.0
    memory_patience_s: float = 60.0
    memory_retries: int = 3

    def is_healthy(self, served_s: float, n_answered: int) -> bool:
        """Return True if a worker process did useful work.

        Args:
            served_s: time from the loaded model to the end of the process; 0 if the model was never loaded.
            n_answered: batches that it transcribed.
        """
        return served_s >= (self.healthy_busy_s if n_answered >= self.healthy_batches else self.healthy_after_s)


@dataclass(frozen=True, slots=True)
class Restart:
    """The delay before the next start, and whether the breaker is open meanwhile."""

    delay_s: float
    breaker_open: bool


class RestartPolicy:
    """Records the deaths of one worker's successive processes."""

    def __init__(self, config: RestartConfig) -> None:
        self._config = config
        self._deaths_s: deque[float] = deque(maxlen=config.breaker_deaths)
        self._n_failures = 0
        self._breaker_open = False
        self._memory_short_since_s: float | None = None
        self._n_memory_short = 0

    def waits_for_memory(self, now_s: float, *, short: bool) -> bool:
        """Record the end of a worker. Return True if memory was `short` for its load, which is to be tried again.

        The memory of a killed process may not be free yet, and other programs may use much for a moment.
        """
        if not short:
            self._memory_short_since_s, self._n_memory_short = None, 0
            return False
        if self._memory_short_since_s is None:
            self._memory_short_since_s = now_s
        self._n_memory_short += 1
        has_time = now_s - self._memory_short_since_s < self._config.memory_patience_s
        return has_time or self._n_memory_short <= self._config.memory_retries

    def next_restart(self, now_s: float, *, healthy: bool, random: float) -> Restart:
        """Record a death at `now_s` (monotonic) and decide about the next start. `random` is from 0 to 1."""
        if healthy:
            self._n_failures, self._breaker_open = 0, False
            self._deaths_s.clear()
        self._n_failures += 1
        self._deaths_s.append(now_s)
        config = self._config
        if len(self._deaths_s) == config.breaker_deaths and now_s - self._deaths_s[0] <= config.breaker_window_s:
            self._breaker_open = True
        if self._breaker_open:
            return Restart(config.half_open_interval_s, breaker_open=True)
        if self._n_failures == 1:
            return Restart(0.0, breaker_open=False)
        ceiling_s = min(config.max_delay_s, config.first_delay_s * 2 ** (self._n_failures - 2))
        return Restart(ceiling_s * random, breaker_open=False)
