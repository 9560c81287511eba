"""Decide which worker gets which batch of requests next.

Rules, in order:
1. Finals go before partials, and older finals before newer ones. A batch has one kind only, because partials in the
   batch of a final would delay it.
2. At most one partial of a session waits, and at most one is in flight. A newer partial replaces the waiting one, and a
   final of the same utterance removes it.
3. Sessions take turns. A partial that replaces another keeps its place in the queue. A waiting partial is refreshed
   when its turn comes: it gets the audio that has come meanwhile. So waiting makes partials rarer, never older.
4. A worker that could compute one more batch at the same time is idle, and gets what there is. Any other gets a batch
   ahead, up to `batches_in_flight`, only if that batch is full. Fewer requests become a larger batch meanwhile:
   docs/decisions/0029-batches-in-flight.md.
5. A final whose worker crashed is tried once more, alone, before everything else. If its worker crashes again, it is
   the cause and is given up. The other finals of its first batch have lost nothing.
6. A partial whose worker crashed is dropped, and its utterance gets no more partials. Each would send the same audio
   again, and the final would find all workers dead.
7. A batch may fail in a worker that goes on. Then one of its requests is at fault, or chance. Its finals are tried
   again, each alone, before everything else. A final that fails alone is tried once more, and then has failed. Its
   partials have failed, because newer ones come. Each of its sessions then gets batches of its own for this kind of
   request, until one is answered. So a request that always fails costs the others only one batch.
8. Waiting requests of a cancelled utterance are dropped. Those in flight are answered nevertheless.
9. Translations of finals go last, one at a time, to workers without a batch, while there is time for them. One of
   several workers gets none, so that the next final finds it idle. None is tried again. After a crash its session gets
   no more of them: docs/decisions/0048-tracks.md.
10. Finals of recordings go behind all of these, to workers without a batch. So a live request waits for one batch of
    them at most. While there are live streams, they go only while no worker works for these, and one of several
    workers gets neither them nor translations. A recorded final that is tried again waits among its kind:
    docs/decisions/0058-uploads.md.

Pure: events in, instructions out. The scheduler does not depend on time, processes or pipes.
"""

from collections import deque
from collections.abc import Callable, Iterable

from livecaption.recognition import RequestId, SessionId
from livecaption.scheduling.config import SchedulerConfig
from livecaption.scheduling.finals import WaitingFinals
from livecaption.scheduling.instructions import BatchId, Dispatch, Drop, GiveUp, Instruction, QueueFigures, WorkerId
from livecaption.scheduling.request import Request
from livecaption.scheduling.translations import WaitingTranslations


class Scheduler:
    """All requests that wait or are in flight. Every method returns the instructions to execute now."""

    def __init__(
        self, config: SchedulerConfig, refresh: Callable[[Request], Request] = lambda partial: partial
    ) -> None:
        """Start without workers.

        Args:
            config: sizes and number of batches.
            refresh: returns a partial with the newest audio of its utterance, and otherwise unchanged.
        """
        self._config = config
        self._refresh = refresh
        self._max_finals = self._max_partials = self._max_recorded = config.max_batch
        self._spares_worker = True
        self._finals = WaitingFinals()
        self._recorded = WaitingFinals()
        self._suspects: deque[Request] = deque()
        self._partials: dict[SessionId, Request] = {}
        self._translations = WaitingTranslations()
        self._translates = True
        self._workers: dict[WorkerId, dict[BatchId, tuple[Request, ...]]] = {}
        self._n_streams: dict[WorkerId, int] = {}
        self._killers: set[RequestId] = set()  # finals whose worker died once
        self._failed: set[RequestId] = set()  # finals that failed once in a batch of their own
        self._sessions: set[SessionId] = set()  # those that have made requests and go on: of these failures are noted
        self._alone: set[tuple[SessionId, bool]] = set()  # sessions whose finals (True) or partials go alone
        self._without_partials: dict[SessionId, int] = {}
        self._n_batches = 0
        self._n_superseded = 0
        self._n_dropped = 0

    @property
    def figures(self) -> QueueFigures:
        """Sizes of the queue, and what became of unanswered partials."""
        return QueueFigures(
            finals=self.n_finals_waiting,
            partials=len(self._partials),
            translations=len(self._translations),
            recorded=len(self._recorded),
            in_flight=self.n_in_flight,
            superseded=self._n_superseded,
            dropped=self._n_dropped,
        )

    @property
    def n_finals_waiting(self) -> int:
        """Number of finals of live streams that no worker has yet."""
        return len(self._finals) + len(self._suspects)

    @property
    def n_in_flight(self) -> int:
        """Number of requests that were sent and not answered."""
        return sum(len(requests) for batches in self._workers.values() for requests in batches.values())

    @property
    def oldest_final_asked_s(self) -> float | None:
        """Monotonic time of the oldest request for a final that no worker has yet, of live streams; None: none."""
        waiting = [*self._suspects] if self._finals.oldest is None else [*self._suspects, self._finals.oldest]
        return min((request.asked_s for request in waiting), default=None)

    def limit_batches(
        self, *, finals: int, partials: int, recorded: int = 1, translates: bool = True, spares_worker: bool = True
    ) -> list[Instruction]:
        """Limit the requests in one batch of each kind, from now on, to 1..`max_batch`.

        Translations wait while `translates` is False. `spares_worker`: one of several gets no recorded finals.
        """
        self._translates, self._spares_worker = translates, spares_worker
        self._max_finals = max(1, min(finals, self._config.max_batch))
        self._max_partials = max(1, min(partials, self._config.max_batch))
        self._max_recorded = max(1, min(recorded, self._config.max_batch))
        return self._dispatch()  # the waiting requests may be a full batch now

    def submit(self, request: Request) -> list[Instruction]:
        """Take a request: it will be dispatched and answered, or superseded if it is a partial."""
        self._sessions.add(request.session)
        if request.is_translation:
            return [*map(Drop, self._translations.add(request)), *self._dispatch()]
        if request.is_recorded:
            self._recorded.add(request)
        elif request.is_final:
            waiting = self._partials.get(request.session)
            if waiting is not None and waiting.utterance <= request.utterance:
                del self._partials[request.session]
                self._n_superseded += 1
            self._finals.add(request)
        elif self._without_partials.get(request.session) != request.utterance:
            self._n_superseded += request.session in self._partials
            self._partials[request.session] = request
        else:
            self._n_dropped += 1
        return self._dispatch()

    def cancel(self, session: SessionId, utterance: int) -> list[Instruction]:
        """Drop the waiting requests of this utterance, finals too. Those in flight are answered nevertheless."""
        partial = self._partials.get(session)
        if partial is not None and partial.utterance == utterance:
            del self._partials[session]
            self._n_dropped += 1

        def is_void(request: Request) -> bool:
            return request.session == session and request.utterance == utterance

        void = [*filter(is_void, self._suspects), *self._finals.remove(is_void), *self._recorded.remove(is_void)]
        self._suspects = deque(request for request in self._suspects if request not in void)
        for request in void:
            self._acquit(request)
        return self._dispatch()  # others may have waited for a suspect

    def drop_partials(self) -> None:
        """Drop the waiting partials of all sessions, because nobody needs them any more."""
        self._n_dropped += len(self._partials)
        self._partials.clear()

    def forget(self, session: SessionId) -> None:
        """Forget a session that has ended. What waits of it is dropped, apart from finals of live streams."""
        self._sessions.discard(session)
        self._n_dropped += self._partials.pop(session, None) is not None
        self._without_partials.pop(session, None)
        self._alone -= {(session, False), (session, True)}
        self._translations.forget(session)
        for request in self._recorded.remove(lambda each: each.session == session):
            self._acquit(request)

    def add_worker(self, worker: WorkerId, n_streams: int = 1) -> list[Instruction]:
        """Add a worker that is ready. It computes `n_streams` batches at the same time."""
        self._workers[worker] = {}
        self._n_streams[worker] = n_streams
        return self._dispatch()

    def remove_worker(self, worker: WorkerId) -> list[Instruction]:
        """Remove a worker that died. Its oldest batch is suspect; the batches after it are not."""
        self._n_streams.pop(worker, None)
        batches = self._workers.pop(worker, {})
        instructions: list[Instruction] = []
        for position, requests in enumerate(batches.values()):
            for request in requests:
                if request.is_translation:
                    barred = self._translations.bar(request.session) if request.session in self._sessions else []
                    instructions += map(Drop, (request, *barred))
                elif not request.is_final:
                    self._n_dropped += 1
                    if position == 0 and request.session in self._sessions:
                        self._forbid_partials(request.session, request.utterance)
                elif position > 0:
                    # It was not begun, or computed beside the oldest. If it is the cause, it kills the next worker too.
                    self._finals.add(request)
                elif request.id in self._killers:
                    self._acquit(request)
                    instructions.append(GiveUp(request))
                else:
                    self._killers.add(request.id)
                    self._try_again(request)
        return instructions + self._dispatch()

    def complete(self, worker: WorkerId, batch: BatchId) -> tuple[tuple[Request, ...], list[Instruction]]:
        """Take the answer to a batch. Return its requests, in order, and the instructions.

        A batch that this worker does not hold, because the answer is from before its death, has no requests.
        """
        requests = self._workers.get(worker, {}).pop(batch, ())
        for request in requests:
            self._acquit(request)
            if not request.is_translation:
                self._alone.discard((request.session, request.is_final))
        return requests, self._dispatch()

    def fail(self, worker: WorkerId, batch: BatchId) -> tuple[tuple[Request, ...], list[Instruction]]:
        """Take the failure of a batch in a worker that goes on.

        Returns:
            The requests of the batch that have failed for good, and the instructions. A batch that this worker does not
            hold has no requests.
        """
        requests = self._workers.get(worker, {}).pop(batch, ())
        to_note = [each for each in requests if each.session in self._sessions and not each.is_translation]
        self._alone.update((request.session, request.is_final) for request in to_note)
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
                self._try_again(request)
        return tuple(failed), self._dispatch()

    def abandon(self) -> list[Request]:
        """Forget everything, because no worker will come back.

        Returns:
            All requests that were neither answered nor superseded, oldest first.
        """
        requests = [
            *self._in_flight(),
            *self._suspects,
            *self._finals.clear(),
            *self._recorded.clear(),
            *self._partials.values(),
            *self._translations.clear(),
        ]
        for batches in self._workers.values():
            batches.clear()
        self._suspects.clear()
        self._partials.clear()
        self._killers.clear()
        self._failed.clear()
        return sorted(requests, key=lambda request: request.id)

    def _try_again(self, request: Request) -> None:
        """Let a final be tried again, alone: before everything else, or in its turn if it is recorded."""
        if request.is_recorded:
            self._recorded.add(request)
        else:
            self._suspects.append(request)

    def _acquit(self, request: Request) -> None:
        """Clear a request of suspicion, because it is answered or about to be."""
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
            requests = self._next_batch(idle=self._is_idle(worker), empty=not self._workers[worker])
            if not requests:
                break
            self._n_batches += 1
            batch = BatchId(self._n_batches)
            self._workers[worker][batch] = requests
            instructions.append(Dispatch(worker, batch, requests))
        return instructions

    def _idlest_worker(self) -> WorkerId | None:
        free = [worker for worker in self._workers if self._has_room(worker)]
        return min(free, key=lambda each: (not self._is_idle(each), len(self._workers[each]), each), default=None)

    def _is_idle(self, worker: WorkerId) -> bool:
        """Return whether a worker would compute another batch at once."""
        return len(self._workers[worker]) < self._n_streams[worker]

    def _has_room(self, worker: WorkerId) -> bool:
        """Return whether a worker may get another batch.

        Where batches are computed at the same time, a suspect has its worker for itself, so that its crash proves it.
        """
        held, n_streams = self._workers[worker], self._n_streams[worker]
        if n_streams > 1 and any(request.id in self._killers for batch in held.values() for request in batch):
            return False
        return len(held) < self._config.batches_in_flight + n_streams - 1

    def _next_batch(self, *, idle: bool, empty: bool) -> tuple[Request, ...]:
        if self._suspects:
            # It must be alone also in the worker: after another batch the crash would not show which request caused it.
            return (self._suspects.popleft(),) if empty else ()
        if self._finals:
            if not idle and len(self._finals) < self._max_finals:
                return ()
            return self._finals.take(self._max_finals, self._config.max_batch_bytes, self._may_share)
        in_flight = {request.session for request in self._in_flight() if request.is_partial}
        sessions = [session for session in self._partials if session not in in_flight]
        if not idle and len(sessions) < self._max_partials:
            return ()
        if not sessions:
            return (self._next_translation() or self._next_recorded()) if empty else ()
        # The first session in turn, and those with the most similar length: different windows cannot share a pass.
        first = self._partials[sessions[0]]
        partials = [each for each in map(self._partials.__getitem__, sessions) if self._may_share(first, each)]
        partials.sort(key=lambda each: abs(each.window.n_encoder_samples - first.window.n_encoder_samples))
        batch: list[Request] = []
        n_bytes = 0
        for each in partials[: self._max_partials]:
            refreshed = self._partials[each.session] = self._refresh(each)
            n_bytes += refreshed.n_bytes
            if batch and n_bytes > self._config.max_batch_bytes:
                break
            batch.append(self._partials.pop(each.session))
        return tuple(batch)

    def _next_translation(self) -> tuple[Request, ...]:
        translation = self._translations.take() if self._may_translate() else None
        return () if translation is None else (translation,)

    def _may_translate(self) -> bool:
        """Return whether there is time for a translation, and a worker for it: one of several gets none."""
        return self._translates and self._n_in_background < max(1, len(self._workers) - 1)

    def _next_recorded(self) -> tuple[Request, ...]:
        if not self._may_record():
            return ()
        return self._recorded.take(self._max_recorded, self._config.max_batch_bytes, self._may_share)

    def _may_record(self) -> bool:
        """Return whether there is time for recorded finals: beside live streams, only while no worker works for them.

        One of several workers stays free even then.
        """
        n_busy = sum(map(bool, self._workers.values()))
        return not self._spares_worker or n_busy == self._n_in_background < max(1, len(self._workers) - 1)

    @property
    def _n_in_background(self) -> int:
        """Number of workers with a translation or recorded finals: each has one such batch at most."""
        return sum(held[0].is_background for batches in self._workers.values() for held in batches.values())

    def _may_share(self, first: Request, other: Request) -> bool:
        """Return whether two requests of one kind may be in one batch."""
        return first is other or not any(
            (each.session, each.is_final) in self._alone or each.id in self._killers for each in (first, other)
        )

    def _in_flight(self) -> Iterable[Request]:
        return (request for batches in self._workers.values() for requests in batches.values() for request in requests)

    def check_invariants(self) -> None:
        """Check the rules; for tests.

        Raises:
            AssertionError: the state breaks a rule.
        """
        assert all(self._without_partials.get(p.session) != p.utterance for p in self._partials.values())
        assert {*self._without_partials, *dict(self._alone), *self._translations.barred} <= self._sessions
        ids = [request.id for request in self._in_flight()]
        ids += [request.id for request in (*self._finals, *self._recorded)]
        ids += [request.id for request in self._suspects]
        ids += [request.id for request in self._partials.values()]
        assert len(ids) == len(set(ids)), "a request is in two places"
        assert all(request.is_final and not request.is_recorded for request in (*self._finals, *self._suspects))
        assert all(request.is_recorded for request in self._recorded)
        assert all(request.is_partial for request in self._partials.values())
        for worker, batches in self._workers.items():
            assert len(batches) < self._config.batches_in_flight + self._n_streams[worker]
            assert all(0 < len(requests) <= self._config.max_batch for requests in batches.values())
        flying = [request.session for request in self._in_flight() if request.is_partial]
        assert len(flying) == len(set(flying)), "two partials of one session are in flight"
        eligible = self._partials.keys() - set(flying)
        if not all(self._workers.values()):
            assert not self._suspects, "a worker is empty although a final is waiting to be tried again"
            assert not (self._translations and self._may_translate()), "a worker is empty although a translation waits"
            assert not (self._recorded and self._may_record()), "a worker is empty although a recorded final waits"
        if any(self._is_idle(worker) and self._has_room(worker) for worker in self._workers) and not self._suspects:
            assert not self._finals, "a worker is idle although a final waits"
            assert not eligible, "a worker is idle although a partial waits"
        if any(map(self._has_room, self._workers)):
            assert len(self._finals) < self._max_finals or self._suspects, "a full batch waits although there is room"
