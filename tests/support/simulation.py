"""A server in simulated time: publishers, the real scheduler and load controller, and workers with real speeds."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from random import Random

import numpy as np

from livecaption.engine.calibration import measure_costs
from livecaption.recognition import EngineCosts, RequestId, SessionId, Window
from livecaption.scheduling.admission import Demand, Load, StreamLimit, stream_limit
from livecaption.scheduling.config import AdmissionConfig, SchedulerConfig
from livecaption.scheduling.instructions import BatchId, Dispatch, Instruction, WorkerId
from livecaption.scheduling.load_control import LoadController, ServiceLevel
from livecaption.scheduling.request import Request
from livecaption.scheduling.scheduler import Scheduler

SILENCE = np.zeros(1, np.float32)
LONG_SILENCE = np.zeros(9 * 16_000, np.float32)
"""Longer than each utterance. Windows are slices of it, because nobody reads the samples."""
STEP_S = 0.02
PIPE_S = 0.002
"""Time from an answer to the start of the batch that is sent because of it."""
Curve = dict[int, float]
STEEP: Curve = {1: 0.290, 4: 4 * 0.112, 16: 16 * 0.095}
"""Computing time of one thread for batches of 7 s clips with tiny.en int8, a model that gains much from batches."""
FLAT: Curve = {1: 0.139, 2: 2 * 0.101, 8: 8 * 0.097, 16: 16 * 0.094}
"""The same for finals of 3 to 9 s with the guard, which gain little from batches."""
GPU: Curve = {1: 0.0362, 64: 0.035 + 64 * 0.0012}
"""Estimate of a batch that is one batch on a large GPU: 35 ms, and 1.2 ms for each window."""
SLOW_GPU: Curve = {1: 0.264, 64: 0.26 + 64 * 0.004}
"""The same for one that is old or shared."""


def calibration(curve: Curve = STEEP, slowness: float = 1.0, *, on_gpu: bool = False) -> EngineCosts:
    """Return what an engine of this speed measures while it loads."""
    now_s = 0.0

    def rehearse(windows: Sequence[Window], n_tokens: int) -> None:
        nonlocal now_s
        now_s += slowness * batch_s(len(windows), curve)

    return measure_costs(rehearse, lambda _: None, on_gpu=on_gpu, calibrates=True, clock=lambda: now_s)


def batch_s(n_requests: int, curve: Curve = STEEP) -> float:
    """Return one thread's time for a batch of this size: measured, or interpolated between measurements."""
    return float(np.interp(n_requests, list(curve), list(curve.values())))


@dataclass
class Publisher:
    """Has utterances of 2 to 8 s with pauses, and requests captions of them like a session."""

    id: SessionId
    random: Random
    partials: bool = True
    starts_s: float = 0.0
    ends_s: float = 0.0
    counts_from_s: float = 0.0
    utterance: int = -1
    speculated: bool = False
    joined_s: float = 0.0

    def next_utterance(self, now_s: float) -> None:
        self.utterance += 1
        self.starts_s = now_s + self.random.uniform(0.3, 1.0)
        self.ends_s = self.starts_s + self.random.uniform(2.0, 8.0)
        self.counts_from_s = self.starts_s
        self.speculated = False


@dataclass
class Waits:
    """Time from request to answer in s, with the time of the answer."""

    finals: list[tuple[float, float]] = field(default_factory=list)
    partials: list[tuple[float, float]] = field(default_factory=list)

    @staticmethod
    def quantile(waits: list[tuple[float, float]], rank: float, since_s: float = 0.0) -> float:
        return float(np.quantile([wait_s for at_s, wait_s in waits if at_s >= since_s] or [0.0], rank))


class SimulatedServer:
    """Streams start and end by `join` and `leave`; `run` advances the time."""

    def __init__(
        self,
        *,
        n_workers: int = 1,
        n_streams: int = 1,
        slowness: float = 0.5,
        curve: Curve = STEEP,
        on_gpu: bool = False,
        seed: int = 1,
    ) -> None:
        self.now_s = 0.0
        self.curve = curve
        self.slowness = slowness
        """Computing time of a worker relative to one thread. Two threads: a half."""
        self.scheduler = Scheduler(SchedulerConfig(), self._refresh)
        self.controller = LoadController(500, SchedulerConfig().max_batch)
        self.controller.calibrate(calibration(curve, slowness, on_gpu=on_gpu), n_streams)
        self.demand = Demand()
        self.waits = Waits()
        self.computed_s = 0.0
        self.n_computed = 0
        self.publishers: list[Publisher] = []
        self._random = Random(seed)
        self._n_requests = 0
        self._n_publishers = 0
        self._busy: dict[WorkerId, deque[tuple[Dispatch, float]]] = {}
        self._free_s: dict[WorkerId, float] = {}
        for n in range(n_workers):
            worker = WorkerId(n)
            self._busy[worker], self._free_s[worker] = deque(), 0.0
            self._execute(self.scheduler.add_worker(worker, n_streams))
        self._limit_batches()

    def join(self, n_streams: int, *, partials: bool = True) -> None:
        for _ in range(n_streams):
            self._n_publishers += 1
            publisher = Publisher(SessionId(str(self._n_publishers)), Random(self._random.random()), partials)
            publisher.next_utterance(self.now_s)
            publisher.joined_s = self.now_s
            self.demand.add_stream(publisher.id, self.now_s)
            self.publishers.append(publisher)

    def knock(self, n_streams: int) -> int:
        """Let streams ask for admission, one after the other, and return how many were refused."""
        n_before = len(self.publishers)
        for _ in range(n_streams):
            if len(self.publishers) < self.limit.n:
                self.join(1)
        return n_before + n_streams - len(self.publishers)

    @property
    def limit(self) -> StreamLimit:
        """The streams that admission allows now, on a machine that has enough memory."""
        config = AdmissionConfig()
        oldest_s = self.scheduler.oldest_final_asked_s
        load = Load(
            costs=self.controller.request_costs(self.demand.finals_per_partial(self.now_s)),
            utterances_per_s=self.demand.utterances_per_s(self.now_s),
            speaking=self.demand.speaking(self.now_s),
            n_workers=len(self._busy),
            oldest_final_s=0.0 if oldest_s is None else self.now_s - oldest_s,
            partials_paused=self.interval_ms is None,
            free_bytes=2**50,
        )
        n_new = sum(publisher.joined_s > self.now_s - config.new_s for publisher in self.publishers)
        return stream_limit(len(self.publishers), n_new, load, config)

    def leave(self, n_streams: int) -> None:
        for _ in range(n_streams):
            session = self.publishers.pop().id
            self.scheduler.forget(session)
            self.controller.remove_stream(session)
            self.demand.remove_stream(session, self.now_s)

    @property
    def interval_ms(self) -> int | None:
        return self._service_level().partial_interval_ms

    def run(self, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            now_s = self.now_s
            self._compute()
            if any(now_s >= publisher.starts_s for publisher in self.publishers):
                level = self._service_level()  # it is the same for all who ask at one time
                interval_s = inf if level.partial_interval_ms is None else level.partial_interval_ms / 1000
                due_s = now_s + STEP_S / 2 - interval_s
                for publisher in self.publishers:
                    if now_s >= publisher.ends_s:
                        self._end(publisher, level)
                    elif publisher.partials and now_s >= publisher.starts_s and publisher.counts_from_s < due_s:
                        publisher.counts_from_s = now_s
                        self._ask(publisher, is_final=False)
            watch()

    def _refresh(self, partial: Request) -> Request:
        return replace(partial, asked_s=self.now_s)

    def _service_level(self) -> ServiceLevel:
        return self.controller.service_level(self.now_s, len(self._busy), self.scheduler.n_finals_waiting)

    def _end(self, publisher: Publisher, level: ServiceLevel) -> None:
        if self.now_s >= publisher.ends_s + 0.2 and level.effort == "full" and not publisher.speculated:
            publisher.speculated = True
            self._ask(publisher, is_final=True)
        if self.now_s >= publisher.ends_s + 0.5:
            if not publisher.speculated:
                self._ask(publisher, is_final=True)
            publisher.next_utterance(self.now_s)

    def _ask(self, publisher: Publisher, *, is_final: bool) -> None:
        self._n_requests += 1
        n_samples = round(16_000 * (min(self.now_s, publisher.ends_s) - publisher.starts_s))
        window = Window(LONG_SILENCE[:n_samples], is_final=is_final)
        request = Request(RequestId(self._n_requests), publisher.id, publisher.utterance, self.now_s, window)
        self.controller.record_request(request, self.now_s)
        self.demand.record_request(request, self.now_s)
        self._execute(self.scheduler.submit(request))

    def _execute(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            assert isinstance(instruction, Dispatch)
            began_s = max(self._free_s[instruction.worker], self.now_s + PIPE_S)
            took_s = self.slowness * batch_s(len(instruction.requests), self.curve)
            self._free_s[instruction.worker] = began_s + took_s
            self._busy[instruction.worker].append((instruction, took_s))

    def _compute(self) -> None:
        for worker, batches in self._busy.items():
            while batches and self._free_s[worker] - sum(s for _, s in list(batches)[1:]) <= self.now_s:
                dispatch, took_s = batches.popleft()
                requests, instructions = self.scheduler.complete(worker, BatchId(dispatch.batch))
                is_final = requests[0].is_final
                self.controller.record_batch(len(requests), took_s, self.now_s, is_final=is_final)
                self.computed_s += took_s
                self.n_computed += len(requests)
                waits = self.waits.finals if is_final else self.waits.partials
                waits += [(self.now_s, self.now_s - request.asked_s) for request in requests]
                self._execute(instructions)
                self._limit_batches()

    def _limit_batches(self) -> None:
        finals, partials = self.controller.max_finals, self.controller.max_partials
        self._execute(self.scheduler.limit_batches(finals=finals, partials=partials))
