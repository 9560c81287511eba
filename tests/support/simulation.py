"""A server in simulated time: speakers, the real scheduler and pacer, workers that take as long as real ones did."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from livecaption.recognition import RequestId, SessionId, Window
from livecaption.scheduling.pace import Pace, Pacer
from livecaption.scheduling.request import Request
from livecaption.scheduling.scheduler import BatchId, Dispatch, Instruction, Scheduler, SchedulerConfig, WorkerId

SILENCE = np.zeros(1, np.float32)
STEP_S = 0.02
PIPE_S = 0.002
"""From an answer to the begin of a batch that was sent because of it."""
Curve = dict[int, float]
STEEP: Curve = {1: 0.290, 4: 4 * 0.112, 16: 16 * 0.095}
"""Seconds of one thread for batches of 7 s clips, tiny.en int8, a model for which batches matter much."""
FLAT: Curve = {1: 0.139, 2: 2 * 0.101, 8: 8 * 0.097, 16: 16 * 0.094}
"""The same of finals of 3 to 9 s with the guard, for which they matter little."""


def batch_s(n_requests: int, curve: Curve = STEEP) -> float:
    """Time of one thread for a batch of so many; measured, or on the line between what was."""
    return float(np.interp(n_requests, list(curve), list(curve.values())))


@dataclass
class Speaker:
    """Says utterances of 2 to 8 s with pauses, and asks for them as a session does."""

    id: SessionId
    random: Random
    partials: bool = True
    starts_s: float = 0.0
    ends_s: float = 0.0
    counts_from_s: float = 0.0
    utterance: int = -1
    speculated: bool = False

    def next_utterance(self, now_s: float) -> None:
        self.utterance += 1
        self.starts_s = now_s + self.random.uniform(0.3, 1.0)
        self.ends_s = self.starts_s + self.random.uniform(2.0, 8.0)
        self.counts_from_s = self.starts_s
        self.speculated = False


@dataclass
class Waits:
    """From asking to answer, in seconds, with the time of the answer."""

    finals: list[tuple[float, float]] = field(default_factory=list)
    partials: list[tuple[float, float]] = field(default_factory=list)

    @staticmethod
    def quantile(waits: list[tuple[float, float]], rank: float, since_s: float = 0.0) -> float:
        return float(np.quantile([wait_s for at_s, wait_s in waits if at_s >= since_s] or [0.0], rank))


class SimulatedServer:
    """Streams come and go through `join` and `leave`; `run` lets time pass."""

    def __init__(self, *, n_workers: int = 1, slowness: float = 0.5, curve: Curve = STEEP, seed: int = 1) -> None:
        self.now_s = 0.0
        self.curve = curve
        self.slowness = slowness
        """Of a worker, to one thread. Two threads: a half."""
        self.scheduler = Scheduler(SchedulerConfig(), self._renew)
        self.pacer = Pacer(500, SchedulerConfig().max_batch)
        self.waits = Waits()
        self.computed_s = 0.0
        self.n_computed = 0
        self.speakers: list[Speaker] = []
        self._random = Random(seed)
        self._n_requests = 0
        self._n_speakers = 0
        self._busy: dict[WorkerId, deque[tuple[Dispatch, float]]] = {}
        self._free_s: dict[WorkerId, float] = {}
        for n in range(n_workers):
            worker = WorkerId(n)
            self._busy[worker], self._free_s[worker] = deque(), 0.0
            self._carry_out(self.scheduler.add_worker(worker))

    def join(self, n_streams: int, *, partials: bool = True) -> None:
        for _ in range(n_streams):
            self._n_speakers += 1
            speaker = Speaker(SessionId(str(self._n_speakers)), Random(self._random.random()), partials)
            speaker.next_utterance(self.now_s)
            self.speakers.append(speaker)

    def leave(self, n_streams: int) -> None:
        for _ in range(n_streams):
            session = self.speakers.pop().id
            self.scheduler.forget_partials(session)
            self.pacer.left(session)

    @property
    def interval_ms(self) -> int | None:
        return self._pace().partial_interval_ms

    def run(self, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            self._compute()
            for speaker in self.speakers:
                self._speak(speaker)
            watch()

    def _renew(self, partial: Request) -> Request:
        return replace(partial, asked_s=self.now_s)

    def _pace(self) -> Pace:
        return self.pacer.pace(self.now_s, len(self._busy), self.scheduler.n_finals_waiting)

    def _speak(self, speaker: Speaker) -> None:
        if self.now_s < speaker.starts_s:
            return
        pace = self._pace()
        if self.now_s >= speaker.ends_s + 0.2 and pace.speculates and not speaker.speculated:
            speaker.speculated = True
            self._ask(speaker, is_final=True)
        if self.now_s >= speaker.ends_s + 0.5:
            if not speaker.speculated:
                self._ask(speaker, is_final=True)
            speaker.next_utterance(self.now_s)
        elif speaker.partials and self.now_s < speaker.ends_s and pace.partial_interval_ms is not None:
            due_s = speaker.counts_from_s + pace.partial_interval_ms / 1000
            if self.now_s > due_s - STEP_S / 2:
                speaker.counts_from_s = self.now_s
                self._ask(speaker, is_final=False)

    def _ask(self, speaker: Speaker, *, is_final: bool) -> None:
        self._n_requests += 1
        window = Window(SILENCE, is_final=is_final)
        request = Request(RequestId(self._n_requests), speaker.id, speaker.utterance, self.now_s, window)
        self.pacer.asked(request, self.now_s)
        self._carry_out(self.scheduler.submit(request))

    def _carry_out(self, instructions: list[Instruction]) -> None:
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
                self.pacer.answered(len(requests), took_s, self.now_s, is_final=is_final)
                self.computed_s += took_s
                self.n_computed += len(requests)
                waits = self.waits.finals if is_final else self.waits.partials
                waits += [(self.now_s, self.now_s - request.asked_s) for request in requests]
                self._carry_out(instructions)
                finals, partials = self.pacer.max_finals, self.pacer.max_partials
                self._carry_out(self.scheduler.limit_batches(finals=finals, partials=partials))
