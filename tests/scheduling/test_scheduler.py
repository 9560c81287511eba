"""Which worker gets which batch next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from livecaption.recognition import RequestId, SessionId, TranslationTask, Window
from livecaption.scheduling.config import SchedulerConfig
from livecaption.scheduling.instructions import BatchId, Dispatch, Drop, GiveUp, Instruction, QueueFigures, WorkerId
from livecaption.scheduling.request import Request
from livecaption.scheduling.scheduler import Scheduler
from tests.support.cases import for_each

SILENCE = np.zeros(160, np.float32)
W1, W2, W3 = WorkerId(1), WorkerId(2), WorkerId(3)


def final(number: int, session: str = "a", utterance: int | None = None, asked_s: float | None = None) -> Request:
    """A final that was requested at `number` by default."""
    return Request(
        RequestId(number),
        SessionId(session),
        number if utterance is None else utterance,
        float(number) if asked_s is None else asked_s,
        Window(SILENCE),
    )


def partial(number: int, session: str = "a", utterance: int = 0, asked_s: float | None = None) -> Request:
    window = Window(SILENCE, is_final=False)
    return Request(
        RequestId(number), SessionId(session), utterance, float(number) if asked_s is None else asked_s, window
    )


def translation(number: int, session: str = "a") -> Request:
    window = Window(SILENCE, translation=TranslationTask("en", "Eins."))
    return Request(RequestId(number), SessionId(session), number, float(number), window)


def recorded(number: int, session: str = "r") -> Request:
    return replace(final(number, session), is_recorded=True)


def ids(instructions: list[Instruction]) -> list[tuple[int, ...]]:
    """Return the requests of each dispatched batch."""
    return [
        tuple(request.id for request in each.requests) if isinstance(each, Dispatch) else (each.request.id,)
        for each in instructions
    ]


def kinds(requests: Sequence[Request]) -> set[tuple[str, bool]]:
    """Return the session of each request, and whether it is a final. Translations do not count."""
    return {(request.session, request.is_final) for request in requests if not request.is_translation}


def scheduler(*workers: WorkerId, max_batch: int = 4, batches_in_flight: int = 2) -> Scheduler:
    made = Scheduler(SchedulerConfig(max_batch, batches_in_flight))
    for worker in workers:
        made.add_worker(worker)
    return made


def in_turn(sched: Scheduler, worker: WorkerId) -> list[tuple[int, ...]]:
    """Return the batches for a worker that joins and answers each."""
    given = [each for each in sched.add_worker(worker) if isinstance(each, Dispatch)]
    for dispatch in given:
        given += [each for each in sched.complete(worker, dispatch.batch)[1] if isinstance(each, Dispatch)]
    return ids(list(given))


def idle(sched: Scheduler) -> bool:
    """Return true if it has nothing to do and waits for nothing."""
    figures = sched.figures
    return figures.finals == figures.partials == figures.recorded == figures.in_flight == 0


def test_a_request_goes_to_a_free_worker_at_once() -> None:
    request = final(1)
    assert scheduler(W1).submit(request) == [Dispatch(W1, BatchId(1), (request,))]


def test_requests_from_before_any_worker_are_sent_to_the_first_one_in_one_batch() -> None:
    sched = scheduler()
    assert [sched.submit(final(n)) for n in (1, 2, 3)] == [[], [], []]
    assert ids(sched.add_worker(W1)) == [(1, 2, 3)]


def test_a_worker_holds_two_batches_and_gets_the_next_with_its_answer() -> None:
    sched = scheduler(W1, max_batch=1)
    assert ids(sched.submit(final(1))) == [(1,)]
    assert ids(sched.submit(final(2))) == [(2,)]
    assert sched.submit(final(3)) == []
    requests, instructions = sched.complete(W1, BatchId(1))
    assert [request.id for request in requests] == [1]
    assert ids(instructions) == [(3,)]


@pytest.mark.parametrize("request_of", [final, partial])
def test_a_worker_that_computes_gets_a_next_batch_once_that_is_full(request_of: Callable[..., Request]) -> None:
    """A second batch hides the pipe; sent with one request it would make the next ones wait for a third."""
    sched = scheduler(W1, max_batch=3)
    assert ids(sched.submit(request_of(1, "a"))) == [(1,)]
    assert sched.submit(request_of(2, "b")) == sched.submit(request_of(3, "c")) == []
    assert ids(sched.submit(request_of(4, "d"))) == [(2, 3, 4)]
    assert sched.submit(request_of(5, "e")) == []
    assert ids(sched.complete(W1, BatchId(1))[1]) == []
    assert ids(sched.complete(W1, BatchId(2))[1]) == [(5,)]


def test_a_limit_on_batches_holds_for_its_kind_and_never_beyond_the_largest() -> None:
    sched = scheduler(max_batch=4)
    sched.limit_batches(finals=3, partials=0)
    for number in range(4):
        sched.submit(final(number, "f"))
        sched.submit(partial(10 + number, str(number), utterance=1))
    assert in_turn(sched, W1) == [(0, 1, 2), (3,), (10,), (11,), (12,), (13,)]
    sched.limit_batches(finals=99, partials=99)
    sched.remove_worker(W1)
    for number in range(20, 25):
        sched.submit(final(number))
    assert in_turn(sched, W2) == [(20, 21, 22, 23), (24,)]


def test_waiting_requests_are_sent_when_a_lower_limit_makes_them_a_full_batch() -> None:
    sched = scheduler(W1, max_batch=8)
    for number in range(3):
        sched.submit(final(number))
    assert ids(sched.limit_batches(finals=2, partials=8)) == [(1, 2)]


def test_the_age_of_the_oldest_final_is_of_those_that_no_worker_has() -> None:
    sched = scheduler(W1)
    assert sched.oldest_final_asked_s is None
    for request in (final(1, asked_s=1.0), partial(2, asked_s=2.0), final(3, asked_s=5.0), final(4, asked_s=4.0)):
        sched.submit(request)
    assert sched.oldest_final_asked_s == 4.0
    sched.remove_worker(W1)  # the one that it had is to be tried again
    assert sched.oldest_final_asked_s == 1.0


def test_finals_go_before_partials_and_in_the_order_of_asking() -> None:
    sched = scheduler()
    for request in (partial(1, "p"), final(2, asked_s=5.0), final(3, asked_s=4.0)):
        sched.submit(request)
    assert in_turn(sched, W1) == [(3, 2), (1,)]


def test_a_batch_holds_one_kind_only() -> None:
    """Partials in the batch of a final would delay it."""
    sched = scheduler(max_batch=8)
    for request in (partial(1, "a"), final(2, "b"), partial(3, "c")):
        sched.submit(request)
    assert in_turn(sched, W1) == [(2,), (1, 3)]


def test_a_newer_partial_replaces_the_waiting_one_and_keeps_its_turn() -> None:
    sched = scheduler()
    for request in (partial(1, "a"), partial(2, "b"), partial(3, "a")):
        sched.submit(request)
    assert ids(sched.add_worker(W1)) == [(3, 2)]


def test_a_session_has_one_partial_in_flight() -> None:
    sched = scheduler(W1)
    assert ids(sched.submit(partial(1))) == [(1,)]
    assert sched.submit(partial(2)) == []
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(2,)]


def test_a_final_cancels_the_waiting_partial_of_its_utterance() -> None:
    sched = scheduler()
    sched.submit(partial(1, utterance=0))
    sched.submit(final(2, utterance=0))
    assert ids(sched.add_worker(W1)) == [(2,)]


def test_a_final_leaves_the_partial_of_the_next_utterance_alone() -> None:
    sched = scheduler()
    sched.submit(partial(1, utterance=1))
    sched.submit(final(2, utterance=0))
    assert in_turn(sched, W1) == [(2,), (1,)]


def test_work_goes_to_the_least_busy_worker() -> None:
    sched = scheduler(W1, W2, max_batch=1)
    workers = []
    for n in (1, 2, 3, 4):
        [instruction] = sched.submit(final(n))
        assert isinstance(instruction, Dispatch)
        workers.append(instruction.worker)
    assert workers == [W1, W2, W1, W2]


def test_finals_of_a_dead_worker_are_tried_again_each_alone() -> None:
    """Row 44: the culprit is found, and the innocents of its batch lose nothing."""
    sched = scheduler()
    for n in (1, 2, 3):
        sched.submit(final(n))
    sched.add_worker(W1)
    assert sched.remove_worker(W1) == []
    assert ids(sched.add_worker(W2)) == [(1,)]
    assert ids(sched.complete(W2, BatchId(2))[1]) == [(2,)]
    assert ids(sched.complete(W2, BatchId(3))[1]) == [(3,)]


def test_a_worker_that_computes_several_batches_at_the_same_time_holds_one_more_for_each() -> None:
    sched = scheduler(max_batch=1)
    assert sched.add_worker(W1, 2) == []
    assert [ids(sched.submit(final(n))) for n in (1, 2, 3, 4)] == [[(1,)], [(2,)], [(3,)], []]
    sched.check_invariants()


@pytest.mark.parametrize("request_of", [final, partial])
def test_a_worker_that_computes_fewer_batches_than_it_can_gets_a_single_request_at_once(
    request_of: Callable[..., Request],
) -> None:
    sched = scheduler()
    sched.add_worker(W1, 2)
    assert ids(sched.submit(request_of(1, "a"))) == [(1,)]
    assert ids(sched.submit(request_of(2, "b"))) == [(2,)]
    assert sched.submit(request_of(3, "c")) == []
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(3,)]
    sched.check_invariants()


def test_a_request_goes_to_a_worker_that_computes_it_at_once_before_one_that_would_not() -> None:
    sched = scheduler(W1)
    sched.submit(final(1))
    sched.add_worker(W2, 2)
    assert [each.worker for n in (2, 3) for each in sched.submit(final(n)) if isinstance(each, Dispatch)] == [W2, W2]


def test_a_suspect_waits_until_no_batch_is_computed_beside_it() -> None:
    sched = scheduler(W1)
    sched.submit(final(1))
    sched.add_worker(W2, 2)
    sched.submit(final(2))
    assert sched.remove_worker(W1) == []
    assert sched.submit(final(3)) == []
    assert ids(sched.complete(W2, BatchId(2))[1]) == [(1,)]
    assert ids(sched.complete(W2, BatchId(3))[1]) == [(3,)]


def test_a_culprit_that_was_computed_beside_an_older_batch_becomes_suspect_in_the_next_worker() -> None:
    """Row 43: it costs one more death, and no other final its answer."""
    sched = scheduler(max_batch=1)
    sched.add_worker(W1, 2)
    innocent, culprit = final(1), final(2)
    sched.submit(innocent)
    sched.submit(culprit)
    sched.remove_worker(W1)
    assert ids(sched.add_worker(W2, 2)) == [(1,)]
    requests, instructions = sched.complete(W2, BatchId(3))
    assert (requests, ids(instructions)) == ((innocent,), [(2,)])
    sched.remove_worker(W2)
    assert ids(sched.add_worker(W1, 2)) == [(2,)]
    assert sched.remove_worker(W1) == [GiveUp(culprit)]
    assert idle(sched)


def test_a_suspect_goes_before_everything_and_waits_for_an_idle_worker() -> None:
    """Behind another batch its death would not name the culprit."""
    sched = scheduler(W1, W2, max_batch=1, batches_in_flight=1)
    sched.submit(final(1))
    sched.submit(final(2))
    sched.submit(final(3))
    assert sched.remove_worker(W1) == []
    assert ids(sched.complete(W2, BatchId(2))[1]) == [(1,)]


def test_a_final_that_kills_a_second_worker_alone_is_given_up() -> None:
    """Row 43: exactly two deaths."""
    sched = scheduler(W1)
    sched.submit(culprit := final(1))
    sched.remove_worker(W1)
    sched.add_worker(W2)
    assert sched.remove_worker(W2) == [GiveUp(culprit)]
    assert idle(sched)


def test_an_answered_suspect_is_innocent_again() -> None:
    sched = scheduler(W1)
    sched.submit(final(1))
    sched.remove_worker(W1)
    sched.add_worker(W2)
    requests, _ = sched.complete(W2, BatchId(2))
    assert [request.id for request in requests] == [1]


def test_finals_of_a_failed_batch_are_tried_again_each_alone_and_before_everything_else() -> None:
    """The culprit is found, and the innocents of its batch lose nothing."""
    sched = scheduler()
    for n in (1, 2, 3):
        sched.submit(final(n, str(n)))
    sched.add_worker(W1)
    sched.submit(final(4, "4"))
    failed, instructions = sched.fail(W1, BatchId(1))
    assert (failed, ids(instructions)) == ((), [(1,)])
    requests, instructions = sched.complete(W1, BatchId(2))
    assert ([request.id for request in requests], ids(instructions)) == ([1], [(2,)])
    assert ids(sched.complete(W1, BatchId(3))[1]) == [(3,)]
    assert ids(sched.complete(W1, BatchId(4))[1]) == [(4,)]


def test_a_final_that_fails_alone_is_tried_once_more_and_then_has_failed() -> None:
    sched = scheduler(W1)
    sched.submit(culprit := final(1))
    failed, instructions = sched.fail(W1, BatchId(1))
    assert (failed, ids(instructions)) == ((), [(1,)])
    assert sched.fail(W1, BatchId(2)) == ((culprit,), [])
    assert idle(sched)


def test_a_failure_in_a_batch_with_others_is_not_a_failure_alone() -> None:
    sched = scheduler()
    for n in (1, 2):
        sched.submit(final(n, str(n)))
    sched.add_worker(W1)
    outcomes = [sched.fail(W1, BatchId(batch))[0] for batch in range(1, 6)]
    assert [[request.id for request in failed] for failed in outcomes] == [[], [], [], [1], [2]]


def test_a_death_and_a_failure_are_counted_apart() -> None:
    """Audio that is reported to have killed twice has killed twice."""
    sched = scheduler(W1)
    sched.submit(culprit := final(1))
    sched.fail(W1, BatchId(1))
    sched.remove_worker(W1)
    assert ids(sched.add_worker(W2)) == [(1,)]
    assert sched.remove_worker(W2) == [GiveUp(culprit)]
    assert idle(sched)


def test_partials_of_a_failed_batch_have_failed() -> None:
    """Newer ones come."""
    sched = scheduler()
    for n in (1, 2):
        sched.submit(partial(n, str(n)))
    sched.add_worker(W1)
    failed, instructions = sched.fail(W1, BatchId(1))
    assert ([request.id for request in failed], instructions) == ([1, 2], [])
    assert sched.figures == QueueFigures(finals=0, partials=0, in_flight=0, superseded=0, dropped=0)


@pytest.mark.parametrize("request_of", [final, partial])
def test_a_session_that_failed_has_batches_of_its_own_until_it_is_answered(request_of: Callable[..., Request]) -> None:
    """One that fails always would take the others along each time."""
    sched = scheduler()
    other_kind = partial if request_of is final else final
    for number, session in enumerate("abc"):
        sched.submit(request_of(number, session))
    sched.add_worker(W1)
    sched.fail(W1, BatchId(1))
    for batch in range(2, 8):
        sched.fail(W1, BatchId(batch))
    sched.remove_worker(W1)
    for number, session in enumerate("ab", start=10):
        sched.submit(other_kind(number, session, utterance=1))
    assert in_turn(sched, W2) == [(10, 11)]
    sched.remove_worker(W2)
    for number, session in enumerate("abxyc", start=20):
        sched.submit(request_of(number, session, utterance=2))
    assert in_turn(sched, WorkerId(3)) == [(20,), (21,), (22, 23), (24,)]
    sched.remove_worker(WorkerId(3))
    for number, session in enumerate("abc", start=30):
        sched.submit(request_of(number, session, utterance=3))
    assert in_turn(sched, WorkerId(4)) == [(30, 31, 32)]


def test_a_failure_that_is_reported_after_its_workers_death_counts_for_nothing() -> None:
    sched = scheduler(W1)
    sched.submit(final(1))
    sched.remove_worker(W1)
    assert sched.fail(W1, BatchId(1)) == ((), [])


def test_requests_behind_the_batch_that_killed_are_no_suspects() -> None:
    """A worker computes in order, so it had not begun with it."""
    sched = scheduler(W1, max_batch=2)
    sched.submit(final(1))
    sched.submit(final(2))
    sched.submit(final(3))
    sched.remove_worker(W1)
    assert ids(sched.add_worker(W2)) == [(1,), (2, 3)]


def test_partials_of_a_dead_worker_are_dropped() -> None:
    sched = scheduler(W1)
    sched.submit(partial(1))
    sched.remove_worker(W1)
    assert sched.add_worker(W2) == []
    assert (sched.figures.finals, sched.figures.partials) == (0, 0)


def test_an_utterance_whose_partial_killed_gets_no_more_of_them() -> None:
    """Each would bring the same audio again, and so open the breaker for everybody."""
    sched = scheduler(W1)
    sched.submit(partial(1, "poison"))
    sched.submit(partial(2, "poison"))
    sched.remove_worker(W1)
    sched.submit(partial(3, "poison"))
    assert sched.add_worker(W2) == []
    assert ids(sched.submit(partial(4, "innocent"))) == [(4,)]
    assert sched.submit(partial(5, "poison", utterance=1)) == []
    assert ids(sched.complete(W2, BatchId(2))[1]) == [(5,)]


def test_a_partial_that_had_not_begun_forbids_nothing() -> None:
    sched = scheduler(W1, max_batch=1)
    sched.submit(final(1, "other"))
    assert ids(sched.submit(partial(2))) == [(2,)]
    sched.remove_worker(W1)
    sched.submit(partial(3))
    assert in_turn(sched, W2) == [(1,), (3,)]


def test_an_answer_that_comes_after_its_workers_death_counts_for_nothing() -> None:
    """Row 52."""
    sched = scheduler(W1)
    sched.submit(final(1))
    sched.remove_worker(W1)
    assert sched.complete(W1, BatchId(1)) == ((), [])
    assert ids(sched.add_worker(W2)) == [(1,)]


def test_a_death_takes_nothing_from_the_other_worker() -> None:
    sched = scheduler(W1, W2, max_batch=1)
    sched.submit(final(1))
    sched.submit(final(2))
    sched.remove_worker(W1)
    requests, instructions = sched.complete(W2, BatchId(2))
    assert [request.id for request in requests] == [2]
    assert ids(instructions) == [(1,)]


def test_waiting_requests_of_a_cancelled_utterance_are_dropped_and_no_others() -> None:
    sched = scheduler()
    for request in (final(1, "a", 3), final(2, "a", 2), final(3, "b", 3), partial(4, "a", 3), partial(5, "b", 4)):
        sched.submit(request)
    sched.cancel(SessionId("a"), 3)
    assert sched.figures.dropped == 1
    sched.submit(partial(6, "a", 4))
    sched.cancel(SessionId("a"), 3)
    assert in_turn(sched, W1) == [(2, 3), (5, 6)]


def test_a_cancelled_request_in_flight_is_answered_and_a_suspect_is_not_tried_again() -> None:
    sched = scheduler(W1)
    in_flight = final(1, "a", 3)
    sched.submit(in_flight)
    sched.cancel(SessionId("a"), 3)
    assert sched.complete(W1, BatchId(1))[0] == (in_flight,)
    sched.submit(final(2, "a", 4))
    sched.remove_worker(W1)
    sched.cancel(SessionId("a"), 4)
    assert sched.add_worker(W2) == []
    assert idle(sched)


def test_requests_that_waited_for_a_suspect_are_sent_when_that_is_cancelled() -> None:
    sched = scheduler(W1, max_batch=1)
    for id_ in (1, 2, 3):
        sched.submit(final(id_, "a", id_))
    assert sched.fail(W1, BatchId(1))[1] == []  # a suspect waits for an idle worker, and the third for the suspect
    assert ids(sched.cancel(SessionId("a"), 1)) == [(3,)]


def test_forgetting_a_sessions_partials_leaves_its_finals() -> None:
    sched = scheduler()
    for request in (partial(1, "a", utterance=9), final(2, "a"), partial(3, "b")):
        sched.submit(request)
    sched.forget(SessionId("a"))
    assert in_turn(sched, W1) == [(2,), (3,)]


def test_abandoning_returns_everything_once_and_forgets_it() -> None:
    sched = scheduler(W1, max_batch=1, batches_in_flight=1)
    for request in (final(1), final(2), partial(3, "b")):
        sched.submit(request)
    assert [request.id for request in sched.abandon()] == [1, 2, 3]
    assert idle(sched)
    assert sched.complete(W1, BatchId(1)) == ((), [])


@dataclass
class Books:
    """The fate of each request, kept beside the scheduler."""

    asked: dict[RequestId, Request] = field(default_factory=dict)
    answered: list[RequestId] = field(default_factory=list)
    n_deaths: dict[RequestId, int] = field(default_factory=dict)
    n_failures_alone: dict[RequestId, int] = field(default_factory=dict)
    failed_together: set[RequestId] = field(default_factory=set)
    failed: set[tuple[str, bool]] = field(default_factory=set)
    """Sessions that go on whose last batch failed, and whether it was of finals."""
    present: set[str] = field(default_factory=set)
    """Sessions that have made requests and have not left."""

    def suspects(self, request: Request) -> bool:
        """Return true if this request was in a batch that ended badly."""
        return request.id in {*self.n_deaths, *self.n_failures_alone, *self.failed_together}


class AnyOrderOfThings(RuleBasedStateMachine):
    """Requests, answers, failures and deaths in any order: nothing is lost, and nothing is answered twice."""

    @initialize(max_batch=st.integers(1, 4), in_flight=st.integers(1, 3), n_workers=st.integers(0, 3))
    def begin(self, max_batch: int, in_flight: int, n_workers: int) -> None:
        self.scheduler = Scheduler(SchedulerConfig(max_batch, in_flight))
        self.books = Books()
        self.held: dict[WorkerId, list[Dispatch]] = {}
        self.utterances: dict[str, int] = {}
        self.n_workers = 0
        for _ in range(n_workers):
            self.start_worker()

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Drop):
                self.answer(instruction.request)
                continue
            if isinstance(instruction, GiveUp):
                assert self.books.n_deaths[instruction.request.id] == 2
                self.answer(instruction.request)
                continue
            held = self.held[instruction.worker]
            if any(self.books.suspects(request) for request in instruction.requests):
                assert len(instruction.requests) == 1, "a suspect is not alone in its batch"
                assert held == [], "a suspect is not alone in its worker"
            if self.books.failed.intersection(kinds(instruction.requests)):
                assert len(instruction.requests) == 1, "a session that failed has company"
            held.append(instruction)
            if any(request.is_translation for request in instruction.requests):
                assert len(instruction.requests) == len(held) == 1, "a translation waits in a worker, or is not alone"
                assert not self.waiting_finals(), "a translation goes before a final"
                continue
            if instruction.requests[0].is_recorded:
                assert all(request.is_recorded for request in instruction.requests), "a batch is mixed"
                assert len(held) == 1, "recorded finals wait in a worker"
                assert not self.waiting_finals(), "a recorded final goes before a live one"
                continue
            finals = [request for request in instruction.requests if request.is_final]
            assert finals == sorted(finals, key=lambda request: request.asked_s), "finals are out of order"
            assert len(finals) in (0, len(instruction.requests)), "a batch is mixed"
            waiting = self.waiting_finals()
            assert finals or not waiting, "a partial goes before a final"
            newest_s = max((request.asked_s for request in finals), default=0.0)
            if not any(self.books.suspects(request) for request in [*finals, *waiting]):
                assert all(request.asked_s >= newest_s for request in waiting), "a final overtakes another"

    def waiting_finals(self) -> list[Request]:
        """Return the finals of live streams that are promised and that no worker has."""
        held = {request.id for held in self.held.values() for batch in held for request in batch.requests}
        there = held.union(self.books.answered)
        finals = [each for each in self.books.asked.values() if each.is_final and not each.is_recorded]
        return [request for request in finals if request.id not in there]

    def answer(self, request: Request) -> None:
        assert request.id not in self.books.answered, "answered twice"
        self.books.answered.append(request.id)

    @rule(session=st.sampled_from("abc"))
    def ask_partial(self, session: str) -> None:
        self.ask(partial(len(self.books.asked), session, self.utterances.get(session, 0)))

    @rule(session=st.sampled_from("abc"))
    def ask_final(self, session: str) -> None:
        utterance = self.utterances.get(session, 0)
        self.utterances[session] = utterance + 1
        self.ask(final(len(self.books.asked), session, utterance))

    @rule(session=st.sampled_from("rs"))
    def ask_recorded(self, session: str) -> None:
        self.ask(recorded(len(self.books.asked), session))

    @rule(session=st.sampled_from("abc"))
    def ask_translation(self, session: str) -> None:
        self.ask(translation(len(self.books.asked), session))

    def ask(self, request: Request) -> None:
        self.books.asked[request.id] = request
        self.books.present.add(request.session)
        self.carry_out(self.scheduler.submit(request))

    @precondition(lambda self: len(self.held) < 3)
    @rule(n_streams=st.integers(1, 2))
    def start_worker(self, n_streams: int = 1) -> None:
        self.n_workers += 1
        worker = WorkerId(self.n_workers)
        self.held[worker] = []
        self.carry_out(self.scheduler.add_worker(worker, n_streams))

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def answer_a_batch(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker, held in self.held.items() if held]))
        batch = self.held[worker].pop(0)
        requests, instructions = self.scheduler.complete(worker, batch.batch)
        assert requests == batch.requests
        self.books.failed -= kinds(requests)
        for request in requests:
            self.answer(request)
        self.carry_out(instructions)

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def fail_a_batch(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker, held in self.held.items() if held]))
        batch = self.held[worker].pop(0)
        failed, instructions = self.scheduler.fail(worker, batch.batch)
        self.books.failed |= kinds([each for each in batch.requests if each.session in self.books.present])
        for request in batch.requests:
            if len(batch.requests) > 1:
                self.books.failed_together.add(request.id)
            else:
                self.books.n_failures_alone[request.id] = self.books.n_failures_alone.get(request.id, 0) + 1
            has_failed = not request.is_final or self.books.n_failures_alone.get(request.id) == 2
            assert (request in failed) == has_failed, "given up too early, or never"
        for request in failed:
            self.answer(request)
        self.carry_out(instructions)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.held)))
        batches = self.held.pop(worker)
        for request in batches[0].requests if batches else ():
            self.books.n_deaths[request.id] = self.books.n_deaths.get(request.id, 0) + 1
        self.carry_out(self.scheduler.remove_worker(worker))
        for request in batches[0].requests if batches else ():
            assert not request.is_translation or request.id in self.books.answered, "a translation is tried again"

    @rule(finals=st.integers(0, 5), partials=st.integers(0, 5), translates=st.booleans())
    def limit(self, finals: int, partials: int, *, translates: bool) -> None:
        self.carry_out(self.scheduler.limit_batches(finals=finals, partials=partials, translates=translates))

    @rule(session=st.sampled_from("abc"), data=st.data())
    def cancel(self, session: str, data: st.DataObject) -> None:
        utterance = data.draw(st.integers(0, self.utterances.get(session, 0)))
        for request in self.waiting_finals():
            if (request.session, request.utterance) == (session, utterance):
                self.answer(request)  # so that no answer may come any more
        self.carry_out(self.scheduler.cancel(SessionId(session), utterance))

    @rule(session=st.sampled_from("abc"))
    def leave(self, session: str) -> None:
        self.scheduler.forget(SessionId(session))
        self.books.failed -= {(session, False), (session, True)}
        self.books.present.discard(session)

    @invariant()
    def the_state_is_sound(self) -> None:
        if hasattr(self, "scheduler"):
            self.scheduler.check_invariants()
            assert self.scheduler.figures.partials <= 3, "more than one partial of a session waits"
            in_flight = [request for held in self.held.values() for batch in held for request in batch.requests]
            figures = self.scheduler.figures
            assert self.scheduler.n_in_flight == figures.in_flight == len(in_flight)
            asked = [request.id for request in self.books.asked.values() if request.is_partial]
            answered = set(self.books.answered).intersection(asked)
            flying = sum(request.is_partial for request in in_flight)
            left = figures.superseded + figures.dropped + figures.partials + flying
            assert len(asked) == len(answered) + left, "a partial is counted twice or nowhere"

    def teardown(self) -> None:
        """Once there is a worker that lives, every final is answered, and so is the newest partial of an utterance
        that killed nobody and was neither ended nor left."""
        if not hasattr(self, "scheduler"):
            return
        self.start_worker()
        while any(self.held.values()):
            for worker, held in self.held.items():
                for batch in list(held):
                    held.remove(batch)
                    requests, instructions = self.scheduler.complete(worker, batch.batch)
                    self.books.failed -= kinds(requests)
                    for request in requests:
                        self.answer(request)
                    self.carry_out(instructions)
        finals = {request.id for request in self.books.asked.values() if request.is_final}
        assert finals <= set(self.books.answered), "a final is lost"
        assert idle(self.scheduler)


TestAnyOrderOfThings = AnyOrderOfThings.TestCase


def test_a_partial_that_a_newer_one_or_its_final_replaces_is_superseded() -> None:
    sched = scheduler()
    for number in (1, 2, 3):
        sched.submit(partial(number))
    assert (sched.figures.superseded, sched.figures.partials) == (2, 1)
    sched.submit(final(4, utterance=0))
    assert (sched.figures.superseded, sched.figures.partials, sched.figures.finals) == (3, 0, 1)
    assert sched.figures.dropped == 0


def test_a_partial_that_its_session_leaves_or_its_worker_takes_along_is_dropped() -> None:
    sched = scheduler(W1, max_batch=1)
    for number, session in enumerate("abab"):
        sched.submit(partial(number, session))
    assert (sched.figures.in_flight, sched.figures.partials) == (2, 2)
    sched.forget(SessionId("b"))
    assert sched.figures.dropped == 1
    sched.remove_worker(W1)
    assert sched.figures.dropped == 4
    sched.submit(partial(9, "a"))  # its audio may have killed the worker
    assert sched.figures == QueueFigures(finals=0, partials=0, in_flight=0, superseded=0, dropped=5)


@for_each("n_sessions", [1, 3, 7])
def test_sessions_take_turns(n_sessions: int) -> None:
    """However fast one asks, every session has its partial once in a round."""
    sched = scheduler(W1, max_batch=1, batches_in_flight=1)
    number = 0
    served = []
    for batch in range(1, 5 * n_sessions + 1):
        for session in range(n_sessions):
            for _ in range(1 if session else 5):
                number += 1
                for instruction in sched.submit(partial(number, str(session))):
                    assert isinstance(instruction, Dispatch)
                    served.append(instruction.requests[0].session)
        for instruction in sched.complete(W1, BatchId(batch))[1]:
            assert isinstance(instruction, Dispatch)
            served.append(instruction.requests[0].session)
    for start in range(1, len(served) - n_sessions, n_sessions):
        assert len(set(served[start : start + n_sessions])) == n_sessions


def test_a_translation_goes_behind_finals_and_partials_and_alone() -> None:
    sched = scheduler()
    for request in (translation(1), translation(2), partial(3, "c"), final(4, "b")):
        sched.submit(request)
    assert in_turn(sched, W1) == [(4,), (3,), (1,), (2,)]


def test_a_worker_that_computes_gets_no_translation() -> None:
    sched = scheduler(W1)
    sched.submit(final(1))
    assert sched.submit(translation(2)) == []
    assert (sched.figures.translations, sched.figures.in_flight) == (1, 1)
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(2,)]


def test_a_translation_goes_to_a_worker_without_a_batch_and_a_final_beside_it_at_once() -> None:
    sched = scheduler()
    sched.add_worker(W1, 2)
    sched.submit(final(1))
    assert sched.submit(translation(2)) == []
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(2,)]
    assert ids(sched.submit(final(3))) == [(3,)]


def test_translations_wait_while_there_is_no_time_for_them() -> None:
    sched = scheduler(W1)
    assert sched.limit_batches(finals=4, partials=4, translates=False) == []
    assert sched.submit(translation(1)) == []
    assert ids(sched.limit_batches(finals=4, partials=4)) == [(1,)]


def test_one_of_several_workers_is_kept_free_of_translations() -> None:
    sched = scheduler(W1, W2, W3)
    assert [ids(sched.submit(translation(number))) for number in (1, 2, 3)] == [[(1,)], [(2,)], []]
    assert ids(sched.submit(final(4, "b"))) == [(4,)]
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(3,)]


def test_a_translation_that_fails_is_not_tried_again_and_sets_no_partial_apart() -> None:
    sched = scheduler(W1)
    request = translation(1)
    sched.submit(request)
    for number, session in ((2, "a"), (3, "b")):
        assert sched.submit(partial(number, session)) == []
    failed, instructions = sched.fail(W1, BatchId(1))
    assert failed == (request,)
    assert ids(instructions) == [(2, 3)]


def test_a_session_whose_translation_crashed_a_worker_gets_no_more_of_them() -> None:
    sched = scheduler(W1)
    first, waiting, other, later = translation(1), translation(2), translation(3, "b"), translation(4)
    for request in (first, waiting, other):
        sched.submit(request)
    assert sched.remove_worker(W1) == [Drop(first), Drop(waiting)]
    assert sched.submit(later) == [Drop(later)]
    assert ids(sched.add_worker(W2)) == [(3,)]


@pytest.mark.parametrize("request_of", [final, partial, translation])
@pytest.mark.parametrize("crashes", [True, False])
def test_nothing_is_noted_of_a_session_that_left_while_its_request_was_computed(
    request_of: Callable[..., Request], *, crashes: bool
) -> None:
    """Nobody would forget it any more."""
    sched = scheduler(W1)
    sched.submit(request_of(1))
    sched.forget(SessionId("a"))
    if crashes:
        sched.remove_worker(W1)
    else:
        sched.fail(W1, BatchId(1))
    sched.check_invariants()


def test_the_translations_of_a_session_that_left_are_not_made() -> None:
    sched = scheduler()
    sched.submit(translation(1))
    sched.submit(translation(2, "b"))
    sched.forget(SessionId("a"))
    assert in_turn(sched, W1) == [(2,)]


def test_translations_that_no_worker_will_make_are_abandoned_too() -> None:
    sched = scheduler()
    sched.submit(translation(1))
    assert [request.id for request in sched.abandon()] == [1]
    assert sched.figures.translations == 0


def long(request: Request, seconds: float = 30.0) -> Request:
    return replace(request, window=replace(request.window, samples=np.zeros(round(16_000 * seconds), np.float32)))


LONG_BYTES = long(final(1)).window.n_bytes


@pytest.mark.parametrize("request_of", [final, partial])
def test_a_batch_has_no_more_audio_than_a_message_takes(request_of: Callable[..., Request]) -> None:
    """A larger message counts as garbled, and would end the worker."""
    sched = Scheduler(SchedulerConfig(max_batch_bytes=3 * LONG_BYTES))
    for n in range(7):
        assert sched.submit(long(request_of(n, str(n)))) == []
    assert in_turn(sched, W1) == [(0, 1, 2), (3, 4, 5), (6,)]
    sched.check_invariants()


@pytest.mark.parametrize("request_of", [final, partial])
def test_a_request_with_more_audio_than_a_batch_may_have_goes_alone(request_of: Callable[..., Request]) -> None:
    sched = Scheduler(SchedulerConfig(max_batch_bytes=1))
    for n in range(2):
        sched.submit(request_of(n, str(n)))
    assert in_turn(sched, W1) == [(0,), (1,)]


def test_the_audio_of_a_partial_counts_as_it_is_sent() -> None:
    sched = Scheduler(SchedulerConfig(max_batch_bytes=3 * LONG_BYTES), refresh=long)
    for n in range(5):
        sched.submit(partial(n, str(n)))
    assert in_turn(sched, W1) == [(0, 1, 2), (3, 4)]


def test_recorded_finals_go_behind_everything_else() -> None:
    sched = scheduler(max_batch=1)
    for request in (recorded(1), translation(2), partial(3, "b"), final(4)):
        sched.submit(request)
    assert sched.figures.recorded == 1
    assert sched.n_finals_waiting == 1
    assert sched.oldest_final_asked_s == 4.0
    assert in_turn(sched, W1) == [(4,), (3,), (2,), (1,)]


def test_recorded_finals_never_wait_in_a_worker_so_a_live_request_waits_for_one_batch_of_them() -> None:
    sched = scheduler(W1, max_batch=2)
    for number in (1, 2, 3, 4):
        sched.submit(recorded(number))
    sched.submit(partial(5))
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(5,)]
    assert ids(sched.complete(W1, BatchId(2))[1]) == [(2, 3)]


def test_one_of_several_workers_is_spared_from_recorded_finals_while_there_are_live_streams() -> None:
    sched = scheduler(W1, W2, W3, max_batch=1)
    sent = [ids(sched.submit(recorded(number))) for number in (1, 2, 3)]
    assert sent == [[(1,)], [(2,)], []]
    assert ids(sched.submit(final(4))) == [(4,)]
    sched.complete(W3, BatchId(3))
    assert ids(sched.limit_batches(finals=1, partials=1, spares_worker=False)) == [(3,)]


def test_recorded_finals_wait_while_a_worker_works_for_a_live_stream() -> None:
    sched = scheduler(W1, W2, W3, max_batch=1)
    assert ids(sched.submit(final(1))) == [(1,)]
    assert sched.submit(recorded(2)) == []
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(2,)]
    sched.submit(final(3))
    sched.submit(recorded(4))
    assert ids(sched.limit_batches(finals=1, partials=1, spares_worker=False)) == [(4,)]


def test_a_batch_of_recorded_finals_has_a_limit_of_its_own() -> None:
    sched = scheduler(max_batch=4)
    sched.limit_batches(finals=4, partials=4, recorded=2)
    for number in range(4):
        sched.submit(recorded(number))
    assert in_turn(sched, W1) == [(0, 1), (2, 3)]


def test_recorded_finals_of_a_session_that_has_left_are_dropped() -> None:
    sched = scheduler(W1, max_batch=1)
    for number, session in enumerate(("gone", "gone", "other")):
        sched.submit(recorded(number, session))
    sched.forget(SessionId("gone"))
    assert ids(sched.complete(W1, BatchId(1))[1]) == [(2,)]


def test_a_recorded_final_whose_worker_crashed_is_tried_alone_but_before_no_live_request() -> None:
    sched = scheduler(W1)
    sched.submit(recorded(1))
    for request in (recorded(2), final(3)):
        sched.submit(request)
    sched.remove_worker(W1)
    assert ids(sched.add_worker(W2)) == [(3,)]
    assert ids(sched.complete(W2, BatchId(2))[1]) == [(1,)]
    assert ids(sched.remove_worker(W2)) == [(1,)]  # given up
    assert ids(sched.add_worker(W3)) == [(2,)]


def test_a_recorded_final_that_fails_is_tried_alone_in_its_turn() -> None:
    sched = scheduler(max_batch=2)
    for number in (1, 2):
        sched.submit(recorded(number))
    sched.add_worker(W1)
    sched.submit(final(3))
    failed, instructions = sched.fail(W1, BatchId(1))
    assert (failed, ids(instructions)) == ((), [(3,)])
    assert ids(sched.complete(W1, BatchId(2))[1]) == [(1,)]
    sched.fail(W1, BatchId(3))
    failed, instructions = sched.fail(W1, BatchId(4))
    assert [request.id for request in failed] == [1]
    assert ids(instructions) == [(2,)]
