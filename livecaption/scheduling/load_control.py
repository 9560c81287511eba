"""How often the streams may ask for partials, and with how much effort, by what the workers' work was measured to cost.

Feed-forward: nothing waits for a queue to have grown. Workers have a second of computing a second, finals take theirs,
and what is left below `UTILIZATION` is for partials:

    interval_s = n_speaking * partial_s / (n_workers * (UTILIZATION - final_utilization))

A queue of partials does no harm, as each is refreshed when its turn comes: workers may well be busy all the time.
"""

from dataclasses import dataclass
from math import exp, inf

from livecaption.recognition import Effort, SessionId
from livecaption.scheduling.cost import BatchCost
from livecaption.scheduling.request import Request

UTILIZATION = 0.95
"""Share of their time that workers are planned to need. More leaves nothing for bursts, less shows words later."""
ASKED_TO_SERVED = 2.0
"""How much more often a busy server has itself asked for partials than it can serve them, so that some always wait and
batches are full. Asked just as often, 24 streams on two cores got batches of 1 to 3, which cost more for each."""
PARTIALS_WITHIN_S = 0.3
"""One batch of partials takes no longer, if it is not a single one that does: a final waits for it."""
FINALS_WITHIN_S = 0.6
"""The same of finals, which wait for each other but are better done together when there are many."""
UNMEASURED_BATCH = 4
"""Requests in one batch while nobody knows what it costs: 10 s with a large model on a CPU, nearly all the use of a
larger one with a small model."""
MEASURED_FINALS = 200
"""Finals after which their cost is known. The first ones of many streams that came together are short, and computed by
workers that have little else to do: 20 of them took half of what those under full load do."""
SLOWEST_INTERVAL_MS = 4_000
"""Partials are planned no less often, if at all: later ones would show words about as late as finals do."""
PAUSE_UTILIZATION = 0.85
"""Utilization by finals alone from which on partials pause. Below it they do finals no harm: those go first."""
RESUME_UTILIZATION = 0.7
"""They come back when it has been lower."""
RESUME_AFTER_S = 2.0
"""For so long finals must have left time; else partials come and go with each burst of finals."""
SPEAKING_S = 4.0
"""Who asked for a partial so lately is taken to speak: longer than the slowest interval."""
PAUSED_SPEAKING_S = 20.0
"""The same while partials pause, when only finals tell: longer than the longest utterance and its pause."""
RATE_MEMORY_S = 4.0
REFRESH_S = 0.2
"""How old a service level may be; it is read for every chunk of every stream."""
_FULL_EFFORT_ENDS = 1.5
"""In intervals as configured. It begins when the workers could do twice the finals and have partials as configured."""


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """Attributes:
    partial_interval_ms: new audio between two partials of an utterance; None: partials pause, finals are all the
        workers can do.
    effort: of each window. At full effort an utterance is also transcribed as a final at its first pause, before it is
        known to end.
    """

    partial_interval_ms: int | None
    effort: Effort


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """Attributes:
    level: as of now.
    paused_s: how long partials have paused since the start, together.
    utilization: computing per second and worker, of the last seconds. Near 1 long before anything is late: what finals
        leave is for partials.
    """

    level: ServiceLevel
    paused_s: float
    utilization: float


class Rate:
    """Something per second, of the last seconds: each amount counts for a third when `memory_s` have passed."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._value = 0.0
        self._at_s = 0.0

    def add(self, amount: float, now_s: float) -> None:
        self._value = self.per_s(now_s) + amount / self._memory_s
        self._at_s = now_s

    def per_s(self, now_s: float) -> float:
        return self._value * exp(-max(0.0, now_s - self._at_s) / self._memory_s)


class LoadController:
    """Learns from all requests and batches, and sets the service level of all streams. Knows no clock."""

    def __init__(self, interval_ms: int, max_batch: int) -> None:
        self._interval_ms = interval_ms
        self._max_batch = max_batch
        self._final_cost = BatchCost()
        self._partial_cost = BatchCost()
        self._n_finals = 0
        self._computing_finals = Rate(RATE_MEMORY_S)
        self._computing = Rate(RATE_MEMORY_S)
        self._asked_s: dict[SessionId, float] = {}  # when each session was last known to speak
        self._level = ServiceLevel(interval_ms, effort="full")
        self._too_busy_s = -inf  # when finals last left too little time to resume
        self._set_s = -inf
        self._paused_s = 0.0

    def record_request(self, request: Request, now_s: float) -> None:
        """A stream wants this."""
        # While partials flow, finals tell nothing: a stream that asks for finals alone needs no partials.
        if not request.is_final or self._level.partial_interval_ms is None:
            self._asked_s[request.session] = now_s

    def record_batch(self, n_requests: int, compute_s: float, now_s: float, *, is_final: bool) -> None:
        """A batch of one kind took a worker so long."""
        (self._final_cost if is_final else self._partial_cost).learn(n_requests, compute_s)
        self._computing.add(compute_s, now_s)
        if is_final:
            self._n_finals += n_requests
            self._computing_finals.add(compute_s, now_s)

    def remove_stream(self, session: SessionId) -> None:
        """A stream ended."""
        self._asked_s.pop(session, None)

    def service_level(self, now_s: float, n_workers: int, n_finals_waiting: int) -> ServiceLevel:
        """What streams may ask, by what is known now or was `REFRESH_S` ago.

        Args:
            n_workers: that are ready; while there are none one is on its way, and it is planned for.
            n_finals_waiting: that no worker has yet.
        """
        if now_s - self._set_s >= REFRESH_S:
            is_paused = self._level.partial_interval_ms is None
            self._paused_s += now_s - self._set_s if is_paused else 0.0
            self._level = self._next_level(now_s, max(1, n_workers), n_finals_waiting)
            self._set_s = now_s
        return self._level

    def figures(self, now_s: float, n_workers: int) -> LoadFigures:
        """Return the figures as of the last service level."""
        return LoadFigures(self._level, self._paused_s, self._computing.per_s(now_s) / max(1, n_workers))

    @property
    def max_finals(self) -> int:
        """Requests in one batch of finals."""
        cost = self._cost_of_finals()
        return cost.best_within(FINALS_WITHIN_S, self._max_batch) if cost else UNMEASURED_BATCH

    @property
    def max_partials(self) -> int:
        """Requests in one batch of partials."""
        cost = self._cost_of_partials()
        return cost.best_within(PARTIALS_WITHIN_S, self._max_batch) if cost else UNMEASURED_BATCH

    @property
    def final_s(self) -> float | None:
        """Time of a worker that a final takes, in batches as they are; None: nothing was measured yet.

        Not what it would take in the largest ones, which streams that are not there yet would make.
        """
        cost = self._cost_of_finals()
        return cost.mean_s if cost else None

    @property
    def partial_s(self) -> float | None:
        """The same of a partial."""
        cost = self._cost_of_partials()
        return cost.mean_s if cost else None

    @property
    def finals_measured(self) -> bool:
        """Whether `final_s` is of finals, and of many."""
        return self._n_finals >= MEASURED_FINALS

    def _cost_of_finals(self) -> BatchCost:
        return self._final_cost or self._partial_cost

    def _cost_of_partials(self) -> BatchCost:
        return self._partial_cost or self._final_cost

    def _next_level(self, now_s: float, n_workers: int, n_finals_waiting: int) -> ServiceLevel:
        if not self._final_cost and not self._partial_cost:
            return self._level
        # What waits is done within a second, if that is possible.
        waiting_s = self._cost_of_finals().of(self.max_finals) / self.max_finals * n_finals_waiting
        finals_s = self._computing_finals.per_s(now_s) + waiting_s
        interval_ms = self._possible_interval_ms(now_s, n_workers, finals_s)
        by_finals = finals_s / n_workers
        if by_finals > RESUME_UTILIZATION:
            self._too_busy_s = now_s
        if self._level.partial_interval_ms is None:
            pauses = now_s - self._too_busy_s < RESUME_AFTER_S
        else:
            pauses = by_finals > PAUSE_UTILIZATION
        if pauses:
            return ServiceLevel(None, effort="reduced")
        if self._level.effort == "full":
            has_time = interval_ms <= _FULL_EFFORT_ENDS * self._interval_ms
        else:
            has_time = self._possible_interval_ms(now_s, n_workers, 2 * finals_s) <= self._interval_ms
        interval_ms = max(self._interval_ms, round(min(interval_ms, SLOWEST_INTERVAL_MS) / ASKED_TO_SERVED))
        return ServiceLevel(interval_ms, "full" if has_time else "reduced")

    def _possible_interval_ms(self, now_s: float, n_workers: int, finals_s: float) -> float:
        """`finals_s`: computing that finals need in a second, of all workers."""
        free_s = UTILIZATION * n_workers - finals_s
        if free_s <= 0.0:
            return inf
        n_speaking = max(1, self._n_speaking(now_s))  # one may begin at any time
        n = max(1.0, min(n_speaking / n_workers, self.max_partials))
        return 1000 * n_speaking * self._cost_of_partials().of(n) / n / free_s

    def _n_speaking(self, now_s: float) -> int:
        memory_s = SPEAKING_S if self._level.partial_interval_ms is not None else PAUSED_SPEAKING_S
        self._asked_s = {s: asked_s for s, asked_s in self._asked_s.items() if asked_s > now_s - PAUSED_SPEAKING_S}
        return sum(asked_s > now_s - memory_s for asked_s in self._asked_s.values())
