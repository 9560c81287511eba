"""The states of one worker as a table, and the state of all workers together. Pure.

Three questions have separate answers. A worker is alive while its process and its pipe exist. It is ready once it
reports so after a warm-up transcription. It makes progress if it keeps the deadlines of its batches.
"""

from collections.abc import Iterable
from enum import Enum


class WorkerState(Enum):
    """The states of a worker."""

    STARTING = "starting"  # spawned, loading its model
    READY = "ready"  # waits for a batch
    BUSY = "busy"  # holds batches that it has not answered
    STOPPING = "stopping"  # was asked to end
    DEAD = "dead"  # ended or killed; any message that still arrives from it is ignored


class WorkerEvent(Enum):
    """The events that change a worker's state."""

    LOADED = "loaded"
    BATCH_SENT = "batch sent"
    ALL_ANSWERED = "all answered"
    STOP_ASKED = "stop asked"
    LOST = "lost"  # end-of-file, garbled message, or killed by the server


class IllegalTransition(Exception):
    """The event cannot happen in this state. This is a bug of livecaption, never a fault of a peer."""


_S, _E = WorkerState, WorkerEvent

TRANSITIONS: dict[WorkerState, dict[WorkerEvent, WorkerState]] = {
    # A worker that still loads is killed instead of asked to stop.
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
    """Return the state after `event`.

    Raises:
        IllegalTransition: the table has no such entry.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"a {state.value} worker cannot have: {event.value}") from None


class PoolState(Enum):
    """The service that one worker, or all of them together, can give to streams now. From best to worst."""

    READY = "ready"
    RECOVERING = "recovering"  # a worker is being restarted
    LOADING = "loading"  # none has been ready yet
    FAILED = "failed"  # none can start, or they die before they have done useful work
    STOPPED = "stopped"


def best_state(states: Iterable[PoolState]) -> PoolState:
    """Return the state of several workers together, which is the best of their states."""
    return min(states, key=list(PoolState).index)
