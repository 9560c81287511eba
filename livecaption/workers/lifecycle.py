"""The states of one worker, as a table, and what they come to for a stream. Pure.

Alive, ready and making progress are three questions: alive is the process and its pipe, ready is
its own word after a warm-up transcription, progress is the deadline of what it computes.
"""

from collections.abc import Iterable
from enum import Enum


class WorkerState(Enum):
    """Where a worker is in its life."""

    STARTING = "starting"  # spawned, loading its model
    READY = "ready"  # waits for a batch
    BUSY = "busy"  # holds batches that it has not answered
    STOPPING = "stopping"  # was asked to end
    DEAD = "dead"  # gone, or killed: nothing that still comes from it counts


class WorkerEvent(Enum):
    """What can happen to a worker."""

    LOADED = "loaded"
    BATCH_SENT = "batch sent"
    ALL_ANSWERED = "all answered"
    STOP_ASKED = "stop asked"
    LOST = "lost"  # end-of-file, garbled message, or killed by us


class IllegalTransition(Exception):
    """An event that cannot happen in this state: a mistake of ours, never of a peer."""


_S, _E = WorkerState, WorkerEvent

TRANSITIONS: dict[WorkerState, dict[WorkerEvent, WorkerState]] = {
    # One that still loads is not asked to stop: it is killed.
    _S.STARTING: {_E.LOADED: _S.READY, _E.LOST: _S.DEAD},
    _S.READY: {_E.BATCH_SENT: _S.BUSY, _E.STOP_ASKED: _S.STOPPING, _E.LOST: _S.DEAD},
    _S.BUSY: {
        _E.BATCH_SENT: _S.BUSY,
        _E.ALL_ANSWERED: _S.READY,
        _E.STOP_ASKED: _S.STOPPING,
        _E.LOST: _S.DEAD,
    },
    # A stopping worker may still answer what it was computing.
    _S.STOPPING: {_E.ALL_ANSWERED: _S.STOPPING, _E.STOP_ASKED: _S.STOPPING, _E.LOST: _S.DEAD},
    _S.DEAD: {},
}


def next_state(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """The state after `event`.

    Raises:
        IllegalTransition: the table has no such entry.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"a {state.value} worker cannot have: {event.value}") from None


class PoolState(Enum):
    """What one worker, or all of them together, can do for a stream now. From best to worst."""

    READY = "ready"
    RECOVERING = "recovering"  # one is on its way back
    LOADING = "loading"  # none has been ready yet
    FAILED = "failed"  # none can start, or they die before they are of use
    STOPPED = "stopped"


def best_state(states: Iterable[PoolState]) -> PoolState:
    """What workers in these states can do together: as much as the best of them."""
    return min(states, key=list(PoolState).index)
