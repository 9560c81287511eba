"""Set how often streams may request partials, and with how much effort, from the measured cost of requests.

The control is feed-forward: it does not wait until a queue has grown. Each worker has one second of computing for each
second. Finals come first, and the rest below `UTILIZATION` is for partials:

    interval_s = n_speaking * partial_s / (n_workers * (UTILIZATION - final_utilization))

A queue of partials does no harm, because each is refreshed when its turn comes. So workers may be busy all the time.
Figures: docs/decisions/0020-load-control.md, docs/decisions/0053-calibration.md.
"""

from dataclasses import dataclass
from math import exp, inf

from livecaption.recognition import Effort, EngineCosts, SessionId
from livecaption.scheduling.cost import BatchCost
from livecaption.scheduling.request import Request

UTILIZATION = 0.95
"""Share of the workers' time that is planned. More leaves nothing for bursts; less shows words later."""
OVERSUBSCRIPTION = 2.0
"""Partials that streams request on a busy server, per partial that it can serve. So some always wait, and batches are
full. Less: small batches, which cost more for each request. More: no gain, because newer partials replace older."""
PARTIALS_WITHIN_S = 0.3
"""Longest time in s of a batch of partials, unless a single partial takes longer. A final may have to wait for it."""
FINALS_WITHIN_S = 0.6
"""Longest time in s of a batch of finals. Finals wait for each other, but cost less together when there are many."""
FINALS_ALONE_WITHIN_S = 3.0
"""The same while there is only one stream, so nobody else waits: a recording. Longer: a second stream that begins waits
for longer. Shorter: recordings cost more. Figures: docs/decisions/0042-recordings.md."""
RECORDED_WITHIN_S = 0.3
"""Longest time in s of a batch of recorded finals beside live streams, unless a single one takes longer. A live request
may have to wait for it. Longer: live captions come later. Shorter: recordings cost more. Without live streams
`FINALS_ALONE_WITHIN_S` counts: docs/decisions/0058-uploads.md."""
QUICK_S = 0.1
"""Time in s of a batch of partials below which requests wait for each other even for a small gain, where workers
compute several batches at the same time. There a batch of partials delays no final, and nobody notices the wait. More:
words of few streams are shown later. Less: a GPU serves fewer streams. Elsewhere words would be shown later."""
SLOWEST_INTERVAL_MS = 4_000
"""Longest planned interval of partials in ms. With a longer one partials would show words about as late as finals."""
PAUSE_UTILIZATION = 0.85
"""Utilization by finals alone from which on partials pause. Below it they do not delay finals, which go first."""
RESUME_UTILIZATION = 0.7
"""Utilization by finals below which partials come back."""
RESUME_AFTER_S = 2.0
"""Time in s for which finals must stay below that. Shorter: partials come and go with each burst of finals."""
SPEAKING_S = 4.0
"""A stream that requested a partial within this time, in s, counts as speaking. Longer than the slowest interval."""
PAUSED_SPEAKING_S = 20.0
"""The same while partials pause and only finals show speech. Longer than the longest utterance and its pause."""
RATE_MEMORY_S = 4.0
REFRESH_S = 0.2
"""Age in s at which the service level is computed again. It is read for every chunk of every stream."""
_FULL_EFFORT_ENDS = 1.5
"""Interval, in configured intervals, at which full effort ends. It begins when the workers could do twice the finals
and still reach the configured interval."""


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """The requests that streams may make now.

    Attributes:
        partial_interval_ms: new audio between two partials of an utterance; None: partials pause, because finals need
            all the time of the workers.
        effort: effort for each window. At full effort an utterance is also transcribed as a final at its first pause,
            before its end is certain.
    """

    partial_interval_ms: int | None
    effort: Effort


@dataclass(frozen=True, slots=True)
class RequestCosts:
    """Worker time in s for one request of each kind."""

    final_s: float
    partial_s: float


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """Figures of the load.

    Attributes:
        level: the present service level.
        paused_s: total time since the start in which partials paused.
        utilization: computing per second and worker, of the last seconds. It is near 1 long before anything is late,
            because partials take the time that finals leave.
    """

    level: ServiceLevel
    paused_s: float
    utilization: float


class Rate:
    """A rate per second over the last seconds. Each amount counts for a third once `memory_s` have passed."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._value = 0.0
        self._at_s = 0.0

    def add(self, amount: float, now_s: float) -> None:
        self._value = self.per_s(now_s) + amount / self._memory_s
        self._at_s = now_s

    def per_s(self, now_s: float) -> float:
        return self._value * exp(-max(0.0, now_s - self._at_s) / self._memory_s)


@dataclass(frozen=True, slots=True)
class _Costs:
    """The costs of batches of each kind."""

    finals: BatchCost
    partials: BatchCost
    recorded: BatchCost


class LoadController:
    """Learns from all requests and batches, and sets the service level of all streams. Time is an argument.

    Nothing is computed before `calibrate`, because until then no worker has been ready. Batches are then single
    requests, and streams may request as many partials as configured.
    """

    def __init__(self, interval_ms: int, max_batch: int) -> None:
        self._interval_ms = interval_ms
        self._max_batch = self._largest_batch = max_batch
        self._costs: _Costs | None = None
        self._quick_s = 0.0
        self._has_learned = False  # True once a batch was computed
        self._computing_finals = Rate(RATE_MEMORY_S)
        self._computing = Rate(RATE_MEMORY_S)
        self._spoke_s: dict[SessionId, float] = {}  # when speech of each session was last reported
        self._level = ServiceLevel(interval_ms, effort="full")
        self._too_busy_s = -inf  # when finals last left too little time to resume
        self._set_s = -inf
        self._paused_s = 0.0

    def calibrate(self, measured: EngineCosts, n_streams: int = 1) -> None:
        """Take the times that a worker measured while it loaded. It computes `n_streams` batches at the same time.

        Any worker may get the next batch, so the costliest calibration counts, and the smallest of their largest
        batches. Once a batch was computed, later times do not count, because batches are better evidence.
        """
        self._max_batch = min(self._max_batch, measured.max_batch)
        self._largest_batch = min(self._largest_batch, self._max_batch)
        costs = _Costs(BatchCost(measured.finals), BatchCost(measured.partials), BatchCost(measured.finals))
        if self._costs is None or (not self._has_learned and self._request_s(costs) > self._request_s(self._costs)):
            self._costs = costs
            self._quick_s = QUICK_S if n_streams > 1 else 0.0

    def limit_batches(self, n_windows: int) -> None:
        """Compute no batches of more than `n_windows` from now on, because memory was short for more."""
        self._largest_batch = min(self._max_batch, n_windows)

    def record_request(self, request: Request, now_s: float) -> None:
        """Record the request of a stream."""
        # While partials flow, finals do not count: a stream without partials needs none.
        if not request.is_final or self._level.partial_interval_ms is None:
            self._spoke_s[request.session] = now_s

    def record_batch(
        self, n_requests: int, compute_s: float, now_s: float, *, is_final: bool, is_recorded: bool = False
    ) -> None:
        """Record how long a worker, which has been calibrated, computed a batch of one kind.

        Recorded finals take no time that streams need, and their windows are longer than those of streams. So they
        change neither the service level nor what streams cost.
        """
        assert self._costs is not None
        self._has_learned = True
        finals = self._costs.recorded if is_recorded else self._costs.finals
        (finals if is_final else self._costs.partials).learn(n_requests, compute_s)
        self._computing.add(compute_s, now_s)
        if is_final and not is_recorded:
            self._computing_finals.add(compute_s, now_s)

    def remove_stream(self, session: SessionId) -> None:
        """Remove a stream that ended."""
        self._spoke_s.pop(session, None)

    def service_level(self, now_s: float, n_workers: int, n_finals_waiting: int) -> ServiceLevel:
        """Return the present service level, which is at most `REFRESH_S` old.

        Args:
            now_s: monotonic time.
            n_workers: number of workers that are ready. With none, the plan is for the one that is starting.
            n_finals_waiting: finals that no worker has yet.
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
    def leaves_time(self) -> bool:
        """True if partials come as often as configured, so that there is time for translations."""
        return self._level.partial_interval_ms == self._interval_ms

    @property
    def max_finals(self) -> int:
        """Largest number of requests in one batch of finals of several streams."""
        return 1 if self._costs is None else self._costs.finals.best_within(FINALS_WITHIN_S, self._largest_batch)

    @property
    def max_finals_alone(self) -> int:
        """The same where all are of one stream."""
        return (
            1 if self._costs is None else self._costs.finals.largest_within(FINALS_ALONE_WITHIN_S, self._largest_batch)
        )

    def max_recorded(self, *, alone: bool) -> int:
        """Return the largest number of requests in one batch of recorded finals. `alone`: there is no live stream."""
        if self._costs is None:
            return 1
        within_s = FINALS_ALONE_WITHIN_S if alone else RECORDED_WITHIN_S
        return self._costs.recorded.largest_within(within_s, self._largest_batch)

    @property
    def max_partials(self) -> int:
        """Largest number of requests in one batch of partials."""
        if self._costs is None:
            return 1
        quick = self._costs.partials.largest_within(self._quick_s, self._largest_batch)
        return max(quick, self._costs.partials.best_within(PARTIALS_WITHIN_S, self._largest_batch))

    def _request_s(self, costs: _Costs) -> float:
        return costs.finals.each(self._max_batch) + costs.partials.each(self._max_batch)

    def request_costs(self, finals_per_partial: float) -> RequestCosts | None:
        """Return the costs on a busy server; None: nothing was measured yet.

        A busy worker computes a full batch of partials, then the finals that have come meanwhile, and so on. So the
        sizes of both batches follow from each other. They are not those of now: a server with few streams has small
        batches, and would seem to have no room.

        Args:
            finals_per_partial: finals that streams request for each partial.
        """
        if self._costs is None:
            return None
        n_partials = self.max_partials
        n_finals = max(1.0, min(self.max_finals, finals_per_partial * n_partials))
        return RequestCosts(self._costs.finals.each(n_finals), self._costs.partials.each(n_partials))

    def _next_level(self, now_s: float, n_workers: int, n_finals_waiting: int) -> ServiceLevel:
        if self._costs is None:
            return self._level
        # Waiting finals are planned to be done within a second.
        waiting_s = self._costs.finals.each(self.max_finals) * n_finals_waiting
        finals_s = self._computing_finals.per_s(now_s) + waiting_s
        partials = self._costs.partials
        interval_ms = self._possible_interval_ms(now_s, n_workers, finals_s, partials)
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
            has_time = self._possible_interval_ms(now_s, n_workers, 2 * finals_s, partials) <= self._interval_ms
        interval_ms = max(self._interval_ms, round(min(interval_ms, SLOWEST_INTERVAL_MS) / OVERSUBSCRIPTION))
        return ServiceLevel(interval_ms, "full" if has_time else "reduced")

    def _possible_interval_ms(self, now_s: float, n_workers: int, finals_s: float, partials: BatchCost) -> float:
        """Return the shortest interval that the workers can serve.

        Args:
            now_s: monotonic time.
            n_workers: number of workers.
            finals_s: computing that finals need in a second, of all workers.
            partials: the cost of partials.
        """
        free_s = UTILIZATION * n_workers - finals_s
        if free_s <= 0.0:
            return inf
        n_speaking = max(1, self._n_speaking(now_s))  # somebody may begin at any time
        n = max(1.0, min(n_speaking / n_workers, self.max_partials))
        return 1000 * n_speaking * partials.each(n) / free_s

    def _n_speaking(self, now_s: float) -> int:
        memory_s = SPEAKING_S if self._level.partial_interval_ms is not None else PAUSED_SPEAKING_S
        self._spoke_s = {s: spoke_s for s, spoke_s in self._spoke_s.items() if spoke_s > now_s - PAUSED_SPEAKING_S}
        return sum(spoke_s > now_s - memory_s for spoke_s in self._spoke_s.values())
