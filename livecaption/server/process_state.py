"""The states of one server process among several as a table; the exit codes, and that of all together. Pure."""

from collections.abc import Iterable
from enum import Enum

EXIT_STOPPED = 0
EXIT_CANNOT_START = 3
EXIT_FAULT = 70
EXIT_AWAY = 75
"""The database of the transcripts is away, and a later start may succeed: `EX_TEMPFAIL` of sysexits.h."""


class ProcessState(Enum):
    """The states of a server process, as its parent sees them."""

    WAITING = "waiting"  # it does not run; it is about to be started
    STARTING = "starting"  # it binds, loads its model, and has no streams yet
    READY = "ready"  # it takes streams
    STOPPING = "stopping"  # it was asked to stop
    GONE = "gone"  # it has ended, and is not started again


class ProcessEvent(Enum):
    """The events that change the state of a server process."""

    STARTED = "started"
    LOADED = "loaded"
    STOP_ASKED = "stop asked"
    ENDED = "ended"


_S, _E = ProcessState, ProcessEvent

TRANSITIONS: dict[ProcessState, dict[ProcessEvent, ProcessState]] = {
    _S.WAITING: {_E.STARTED: _S.STARTING, _E.STOP_ASKED: _S.GONE},
    # One that still starts is killed instead of asked to stop.
    _S.STARTING: {_E.LOADED: _S.READY, _E.STOP_ASKED: _S.STOPPING, _E.ENDED: _S.WAITING},
    # It reports that it is ready again after each reload.
    _S.READY: {_E.LOADED: _S.READY, _E.STOP_ASKED: _S.STOPPING, _E.ENDED: _S.WAITING},
    _S.STOPPING: {_E.LOADED: _S.STOPPING, _E.STOP_ASKED: _S.STOPPING, _E.ENDED: _S.GONE},
    _S.GONE: {_E.STOP_ASKED: _S.GONE},
}


def worst(exit_codes: Iterable[int]) -> int:
    """Return the exit code of all together: the greatest, or that of a fault if a signal has ended one of them."""
    return max((code if code >= 0 else EXIT_FAULT for code in exit_codes), default=EXIT_STOPPED)
