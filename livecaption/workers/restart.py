"""The restart policy decides how long to wait before a dead worker is started again. Pure.

The first restart is immediate, because most deaths are accidents. Exponential back-off with full jitter follows
(Brooker 2015, "Exponential Backoff And Jitter"), so that workers that died of one cause do not start together. Five
deaths in a row, however far apart, open the circuit breaker: docs/decisions/0025-circuit-breaker.md. While it is open,
the server reports `failed` and starts a worker once every 30 s, until one of them is healthy. After the death of a
healthy worker, the next one starts immediately, and the row begins again.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartConfig:
    """The back-off, the circuit breaker, and the bounds of a healthy worker.

    Attributes:
        first_delay_s: largest delay before the second restart. It doubles with each further one.
        healthy_after_s: a worker is healthy after this time in service, even without an answer, because nobody may have
            spoken.
        healthy_busy_s: a worker that answered `healthy_batches` is healthy after this time. It keeps a fast worker that
            dies again and again from being started more often.
        healthy_batches: the number exceeds the batches in flight, so that some were sent after the first answer. It is
            small, because a publisher without partials has one batch each 5 s.
        breaker_deaths: so many deaths in a row open the breaker. Only the first may be that of a healthy worker.
        half_open_interval_s: time between two starts while the breaker is open.
        memory_patience_s: time after the first load without enough memory for which such loads do not count as deaths.
        memory_retries: loads that do not count either, however long they take.
    """

    first_delay_s: float = 0.5
    healthy_after_s: float = 60.0
    healthy_busy_s: float = 5.0
    healthy_batches: int = 3
    breaker_deaths: int = 5
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
        self._n_deaths = 0  # in a row
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

    def next_restart(self, *, healthy: bool, random: float) -> Restart:
        """Record a death and decide about the next start. `random` is from 0 to 1."""
        self._n_deaths = 1 if healthy else self._n_deaths + 1
        config = self._config
        if self._n_deaths >= config.breaker_deaths:
            return Restart(config.half_open_interval_s, breaker_open=True)
        if self._n_deaths == 1:
            return Restart(0.0, breaker_open=False)
        return Restart(config.first_delay_s * 2 ** (self._n_deaths - 2) * random, breaker_open=False)
