"""Requests and workers -> which worker gets which batch next.

Rules, in order:
1. Finals before partials; among finals the one asked first. A batch holds one kind only, because
   partials in the batch of a final would delay it.
2. At most one partial of a session waits, and at most one is in flight: a newer one replaces the
   waiting one, a final of the same utterance removes it.
3. Sessions take turns: a replaced partial keeps its predecessor's place in the queue. What has waited is refreshed when
   its turn comes: it gets the audio that was heard meanwhile, so that waiting makes partials rarer and never older.
4. A worker that has nothing gets what there is; one that computes gets a next batch, up to
   `batches_in_flight`, if that one is full. Less than that becomes a larger batch meanwhile:
   docs/decisions/0029-batches-in-flight.md.
5. A final whose worker died is tried once more, alone, before everything else: if it kills again,
   it is the culprit and is given up, and the innocents of its first batch have lost nothing.
6. A partial whose worker died is dropped, and its utterance gets no more of them: each would bring
   the same audio again, and the final, which comes, must not find all workers dead.
7. A batch that failed in a worker that lives is a fault of one of its requests, or of the moment. Its finals are tried
   again, each alone, before everything else; one that fails alone is tried once more, and then has failed. Its partials
   have failed, for newer ones come. Each of its sessions gets batches of its own for what is of that kind, until one of
   them is answered: one that fails always costs the others one batch.
8. What waits of a cancelled utterance is dropped. What is in flight is answered all the same.

Pure: events in, instructions out. Knows nothing of time, processes or pipes.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NewType

from livecaption.recognition import RequestId, SessionId
from livecaption.scheduling.request import Request

WorkerId = NewType("WorkerId", int)
BatchId = NewType("BatchId", int)


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Attributes:
    max_batch: requests in one batch, at most: `Scheduler.limit_batches` says how many just now. Larger uses the
        processor better (7 s clips on one thread cost 290 ms each alone, 112 ms by four, 95 ms by sixteen) and
        lets each wait for all.
    batches_in_flight: batches sent to one worker and not answered. Two hide the pipe.
    """

    max_batch: int = 16
    batches_in_flight: int = 2


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send this batch to this worker."""

    worker: WorkerId
    batch: BatchId
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This final killed two workers, the second one alone; answer it as failed."""

    request: Request


Instruction = Dispatch | GiveUp


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Attributes:
    finals, partials: requests that no worker has yet.
    in_flight: requests sent and unanswered.
    superseded: partials since the start that a newer one or their final took the place of.
    dropped: partials since the start that nobody wanted any more, or that went with their worker.
    """

    finals: int
    partials: int
    in_flight: int
    superseded: int
    dropped: int


class Scheduler:
    """All requests that wait or are in flight. Every method returns what to do now."""

    def __init__(
        self, config: SchedulerConfig, refresh: Callable[[Request], Request] = lambda partial: partial
    ) -> None:
        """`refresh` gives a partial whose turn has come the newest audio of its utterance; all else stays."""
        self._config = config
        self._refresh = refresh
        self._max_finals = self._max_partials = config.max_batch
        self._finals: list[tuple[float, RequestId, Request]] = []
        self._suspects: deque[Request] = deque()
        self._partials: dict[SessionId, Request] = {}
        self._workers: dict[WorkerId, dict[BatchId, tuple[Request, ...]]] = {}
        self._killers: set[RequestId] = set()  # their worker died
        self._failed: set[RequestId] = set()  # alone
        self._alone: set[tuple[SessionId, bool]] = set()  # whose finals, or partials, go alone
        self._without_partials: dict[SessionId, int] = {}
        self._n_batches = 0
        self._n_superseded = 0
        self._n_dropped = 0

    @property
    def figures(self) -> QueueFigures:
        """How much there is to do, and what became of partials that were never answered."""
        return QueueFigures(
            finals=self.n_finals_waiting,
            partials=len(self._partials),
            in_flight=self.n_in_flight,
            superseded=self._n_superseded,
            dropped=self._n_dropped,
        )

    @property
    def n_finals_waiting(self) -> int:
        """Finals that no worker has yet."""
        return len(self._finals) + len(self._suspects)

    @property
    def n_in_flight(self) -> int:
        """Requests sent and unanswered."""
        return sum(len(requests) for batches in self._workers.values() for requests in batches.values())

    @property
    def oldest_final_asked_s(self) -> float | None:
        """When the final was asked that no worker has yet, and that waits longest; None: none waits."""
        waiting = [request.asked_s for request in self._suspects]
        waiting += [self._finals[0][0]] if self._finals else []
        return min(waiting, default=None)

    def limit_batches(self, *, finals: int, partials: int) -> list[Instruction]:
        """Requests in one batch of each kind from now on; at least 1, at most `max_batch`."""
        self._max_finals = max(1, min(finals, self._config.max_batch))
        self._max_partials = max(1, min(partials, self._config.max_batch))
        return self._dispatch()  # what waits may be a full batch now

    def submit(self, request: Request) -> list[Instruction]:
        """Take a request: it will be dispatched and answered, or superseded if it is a partial."""
        if request.is_final:
            waiting = self._partials.get(request.session)
            if waiting is not None and waiting.utterance <= request.utterance:
                del self._partials[request.session]
                self._n_superseded += 1
            heappush(self._finals, (request.asked_s, request.id, request))
        elif self._without_partials.get(request.session) != request.utterance:
            self._n_superseded += request.session in self._partials
            self._partials[request.session] = request
        else:
            self._n_dropped += 1
        return self._dispatch()

    def cancel(self, session: SessionId, utterance: int) -> None:
        """Drop what waits of this utterance, finals too. What is in flight is answered all the same."""
        partial = self._partials.get(session)
        if partial is not None and partial.utterance == utterance:
            del self._partials[session]
            self._n_dropped += 1
        void = {
            request.id
            for request in (*self._suspects, *(entry[2] for entry in self._finals))
            if request.session == session and request.utterance == utterance
        }
        self._suspects = deque(request for request in self._suspects if request.id not in void)
        self._finals = [entry for entry in self._finals if entry[1] not in void]
        heapify(self._finals)
        self._killers -= void
        self._failed -= void

    def forget_partials(self, session: SessionId | None = None) -> None:
        """Drop what waits as a partial of this session, or of all; nobody wants it any more."""
        if session is None:
            self._n_dropped += len(self._partials)
            self._partials.clear()
        else:
            self._n_dropped += self._partials.pop(session, None) is not None
            self._without_partials.pop(session, None)
            self._alone -= {(session, False), (session, True)}

    def add_worker(self, worker: WorkerId) -> list[Instruction]:
        """A worker is ready for batches."""
        self._workers[worker] = {}
        return self._dispatch()

    def remove_worker(self, worker: WorkerId) -> list[Instruction]:
        """The worker died. What it computed is suspect; what waited behind that is not."""
        batches = self._workers.pop(worker, {})
        instructions: list[Instruction] = []
        for position, requests in enumerate(batches.values()):
            for request in requests:
                if not request.is_final:
                    self._n_dropped += 1
                    if position == 0:
                        self._forbid_partials(request.session, request.utterance)
                elif position > 0:  # a worker computes its batches in order: this one had not begun
                    heappush(self._finals, (request.asked_s, request.id, request))
                elif request.id in self._killers:
                    self._acquit(request)
                    instructions.append(GiveUp(request))
                else:
                    self._killers.add(request.id)
                    self._suspects.append(request)
        return instructions + self._dispatch()

    def complete(self, worker: WorkerId, batch: BatchId) -> tuple[tuple[Request, ...], list[Instruction]]:
        """The worker answered a batch: its requests, in order, and what to do now.

        A batch that this worker does not hold (an answer from before its death) has no requests.
        """
        requests = self._workers.get(worker, {}).pop(batch, ())
        for request in requests:
            self._acquit(request)
            self._alone.discard((request.session, request.is_final))
        return requests, self._dispatch()

    def fail(self, worker: WorkerId, batch: BatchId) -> tuple[tuple[Request, ...], list[Instruction]]:
        """The worker could not do a batch, and lives: those of its requests that have failed for good, and what to do
        now. A batch that this worker does not hold has none."""
        requests = self._workers.get(worker, {}).pop(batch, ())
        self._alone.update((request.session, request.is_final) for request in requests)
        failed = []
        for request in requests:
            if not request.is_final:
                failed.append(request)
            elif request.id in self._failed:
                self._acquit(request)
                failed.append(request)
            else:
                if len(requests) == 1:
                    self._failed.add(request.id)
                self._suspects.append(request)
        return tuple(failed), self._dispatch()

    def abandon(self) -> list[Request]:
        """No worker will come back: forget everything, and return what was neither answered nor
        superseded, oldest first."""
        requests = [
            *self._in_flight(),
            *self._suspects,
            *(entry[2] for entry in self._finals),
            *self._partials.values(),
        ]
        for batches in self._workers.values():
            batches.clear()
        self._finals.clear()
        self._suspects.clear()
        self._partials.clear()
        self._killers.clear()
        self._failed.clear()
        return sorted(requests, key=lambda request: request.id)

    def _acquit(self, request: Request) -> None:
        """It is answered, or about to be: what it was suspected of is forgotten."""
        self._killers.discard(request.id)
        self._failed.discard(request.id)

    def _forbid_partials(self, session: SessionId, utterance: int) -> None:
        self._without_partials[session] = utterance
        waiting = self._partials.get(session)
        if waiting is not None and waiting.utterance == utterance:
            del self._partials[session]
            self._n_dropped += 1

    def _dispatch(self) -> list[Instruction]:
        instructions: list[Instruction] = []
        while (worker := self._idlest_worker()) is not None:
            requests = self._next_batch(idle=not self._workers[worker])
            if not requests:
                break
            self._n_batches += 1
            batch = BatchId(self._n_batches)
            self._workers[worker][batch] = requests
            instructions.append(Dispatch(worker, batch, requests))
        return instructions

    def _idlest_worker(self) -> WorkerId | None:
        free = [
            (len(held), worker) for worker, held in self._workers.items() if len(held) < self._config.batches_in_flight
        ]
        return min(free)[1] if free else None

    def _next_batch(self, *, idle: bool) -> tuple[Request, ...]:
        if self._suspects:
            # Alone also in the worker: behind another batch its death would not name the culprit.
            return (self._suspects.popleft(),) if idle else ()
        if self._finals:
            if not idle and len(self._finals) < self._max_finals:
                return ()
            finals = [heappop(self._finals)[2]]
            while self._finals and len(finals) < self._max_finals and self._may_share(finals[0], self._finals[0][2]):
                finals.append(heappop(self._finals)[2])
            return tuple(finals)
        in_flight = {request.session for request in self._in_flight() if not request.is_final}
        sessions = [session for session in self._partials if session not in in_flight]
        if not idle and len(sessions) < self._max_partials:
            return ()
        if not sessions:
            return ()
        # Whose turn it is, and those most like it in length: unlike windows cannot share a pass of the engine.
        first = self._partials[sessions[0]]
        partials = [each for each in map(self._partials.__getitem__, sessions) if self._may_share(first, each)]
        partials.sort(key=lambda each: abs(each.window.n_encoder_samples - first.window.n_encoder_samples))
        return tuple(self._refresh(self._partials.pop(each.session)) for each in partials[: self._max_partials])

    def _may_share(self, first: Request, other: Request) -> bool:
        """Whether two requests of one kind may be in one batch."""
        return first is other or not any((each.session, each.is_final) in self._alone for each in (first, other))

    def _in_flight(self) -> Iterable[Request]:
        return (request for batches in self._workers.values() for requests in batches.values() for request in requests)

    def check_invariants(self) -> None:
        """Raises AssertionError where the state contradicts the rules; for tests."""
        assert all(self._without_partials.get(p.session) != p.utterance for p in self._partials.values())
        ids = [request.id for request in self._in_flight()]
        ids += [request.id for *_, request in self._finals]
        ids += [request.id for request in self._suspects]
        ids += [request.id for request in self._partials.values()]
        assert len(ids) == len(set(ids)), "a request is in two places"
        assert all(request.is_final for *_, request in self._finals)
        assert all(not request.is_final for request in self._partials.values())
        for batches in self._workers.values():
            assert len(batches) <= self._config.batches_in_flight
            assert all(0 < len(requests) <= self._config.max_batch for requests in batches.values())
        flying = [request.session for request in self._in_flight() if not request.is_final]
        assert len(flying) == len(set(flying)), "two partials of one session are in flight"
        eligible = self._partials.keys() - set(flying)
        if not all(self._workers.values()):
            assert not self._suspects, "a worker is idle although a final is to be tried again"
            assert not self._finals, "a worker is idle although a final waits"
            assert not eligible, "a worker is idle although a partial waits"
        if any(len(batches) < self._config.batches_in_flight for batches in self._workers.values()):
            assert len(self._finals) < self._max_finals or self._suspects, (
                "a full batch waits although a worker has room"
            )
