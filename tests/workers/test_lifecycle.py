"""The states of a worker, as a table."""

import itertools

import pytest

from livecaption.workers.lifecycle import (
    TRANSITIONS,
    IllegalTransition,
    PoolState,
    WorkerEvent,
    WorkerState,
    best_state,
    next_state,
)
from tests.support.cases import for_each

S, E = WorkerState, WorkerEvent


def states_after(*events: WorkerEvent) -> list[WorkerState]:
    return list(itertools.accumulate(events, next_state, initial=S.STARTING))


def test_a_worker_loads_computes_and_is_stopped() -> None:
    assert states_after(E.LOADED, E.BATCH_SENT, E.BATCH_SENT, E.ALL_ANSWERED, E.STOP_ASKED, E.LOST) == [
        S.STARTING,
        S.READY,
        S.BUSY,
        S.BUSY,
        S.READY,
        S.STOPPING,
        S.DEAD,
    ]


def test_a_stopping_worker_may_still_answer() -> None:
    assert states_after(E.LOADED, E.BATCH_SENT, E.STOP_ASKED, E.ALL_ANSWERED)[-1] is S.STOPPING


@for_each("state", [state for state in S if state is not S.DEAD])
def test_a_worker_can_be_lost_in_every_state(state: WorkerState) -> None:
    assert next_state(state, E.LOST) is S.DEAD


@for_each("event", E)
def test_nothing_happens_to_a_dead_worker(event: WorkerEvent) -> None:
    with pytest.raises(IllegalTransition, match="dead worker"):
        next_state(S.DEAD, event)


@pytest.mark.parametrize("state", [S.STARTING, S.STOPPING])
def test_no_batch_goes_to_a_worker_that_loads_or_stops(state: WorkerState) -> None:
    with pytest.raises(IllegalTransition):
        next_state(state, E.BATCH_SENT)


def test_the_table_has_a_line_for_every_state() -> None:
    assert set(TRANSITIONS) == set(S)


@for_each(
    ("states", "together"),
    [
        ([PoolState.READY, PoolState.FAILED], PoolState.READY),
        ([PoolState.LOADING, PoolState.READY], PoolState.READY),
        ([PoolState.FAILED, PoolState.RECOVERING], PoolState.RECOVERING),
        ([PoolState.LOADING, PoolState.RECOVERING], PoolState.RECOVERING),
        ([PoolState.FAILED, PoolState.LOADING], PoolState.LOADING),
        ([PoolState.FAILED, PoolState.FAILED], PoolState.FAILED),
    ],
)
def test_workers_together_can_do_what_the_best_of_them_can(states: list[PoolState], together: PoolState) -> None:
    assert best_state(states) is together
