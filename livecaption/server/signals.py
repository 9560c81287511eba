"""A thread receives the stop signals and passes them to the running loop.

    first SIGINT, SIGTERM or SIGHUP                   stop in order
    SIGINT or SIGTERM again, at least 0.3 s later     stop at once, exit code 128 + number
    SIGHUP of a service that systemd started          reload
    any other                                         nothing

The thread reads the wake-up descriptor, to which the interpreter's C handler writes. Python's own handlers run only in
the main thread. They do not run while it is blocked in C. If a signal arrives just before it sleeps in `epoll_wait`,
they do not run until something else wakes it. The loop's `add_signal_handler` needs a turn of the loop.

The thread needs neither, and works before there is a loop and on Windows. It also ends the process if the loop does
not: after the budget of an orderly stop, or that of a forced one.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from livecaption.server.process_state import EXIT_STOPPED

if TYPE_CHECKING:
    # Not imported at run time, because the handlers must be installed before slow imports.
    import asyncio

MIN_GAP_S = 0.3
"""Signals closer together count as one. `uv run` forwards a copy of Ctrl+C after 0.2 s; `tini -g` and terminals also
send signals twice."""

ORPHANED = 86
"""The exit status of a process whose parent is gone, as in `ipc.lifeline`, whose imports would be too slow here."""

if sys.platform == "win32":
    HANG_UP = None
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
else:
    HANG_UP = signal.SIGHUP
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Response(Enum):
    """The response to a signal."""

    STOP = "stop in order"
    FORCE = "stop at once"
    RELOAD = "read files again"
    NOTHING = "nothing"


class Escalation:
    """Decides the response to each signal of a sequence. Pure."""

    def __init__(self, *, hang_up_reloads: bool = False, min_gap_s: float = MIN_GAP_S) -> None:
        self._hang_up_reloads = hang_up_reloads
        self._min_gap_s = min_gap_s
        self._first_s: float | None = None
        self._forced = False

    def receive(self, number: int, now_s: float) -> Response:
        """Return the response to a stop signal that arrived at `now_s` (monotonic)."""
        if self._first_s is None:
            if number == HANG_UP and self._hang_up_reloads:
                return Response.RELOAD
            self._first_s = now_s
            return Response.STOP
        # A hang-up never escalates, because the shell, the kernel and systemd may each send one.
        if self._forced or number == HANG_UP or now_s - self._first_s < self._min_gap_s:
            return Response.NOTHING
        self._forced = True
        return Response.FORCE


class Stoppable(Protocol):
    """The server, as the signals see it."""

    stop_timeout_s: float
    """Time that an orderly stop may take."""
    force_timeout_s: float
    """Time that a forced stop may take."""

    def stop(self, number: int) -> None:
        """Begin an orderly stop. Called in the loop."""

    def force(self, number: int) -> None:
        """Begin a forced stop, with exit code 128 + number. Called in the loop."""

    def reload(self) -> None:
        """Read files again. Called in the loop."""

    def exit_now(self, number: int | None) -> None:
        """End the process at once, because of a second signal, or (None) after the time-out. Called in any thread."""


def is_service(environ: Mapping[str, str]) -> bool:
    """Return whether systemd started this very process as a service. Then SIGHUP asks for a reload.

    A service of type notify has NOTIFY_SOCKET. All have SYSTEMD_EXEC_PID from systemd 248 on (systemd.exec(5)).
    INVOCATION_ID is no sign of it, because the shells of a terminal that systemd started inherit it.
    """
    return "NOTIFY_SOCKET" in environ or environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())


class SignalInbox:
    """Receives the stop signals from the start of the program."""

    def __init__(self, numbers: socket.socket, escalation: Escalation) -> None:
        self._numbers = numbers
        self._escalation = escalation
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Stoppable | None = None

    @classmethod
    def install(cls) -> "SignalInbox":
        """Install the handlers. Call it in the main thread, once, before heavy imports."""
        numbers, wake_up = socket.socketpair()
        wake_up.setblocking(False)
        # `detach`: the descriptor lives as long as the process.
        signal.set_wakeup_fd(wake_up.detach(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # `nohup` starts its program with hang-ups ignored; leave that so.
            if number != HANG_UP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _leave_it_to_the_thread)
        return cls.listening(numbers, Escalation(hang_up_reloads=is_service(os.environ)))

    @classmethod
    def listening(cls, numbers: socket.socket, escalation: Escalation) -> "SignalInbox":
        """Return an inbox that gets the signals as bytes from this socket. The process ends with the socket's peer."""
        inbox = cls(numbers, escalation)
        threading.Thread(target=inbox._listen, name="signals", daemon=True).start()
        return inbox

    def attach(self, loop: "asyncio.AbstractEventLoop", server: Stoppable) -> None:
        """Pass all later signals to `server`, which runs in this loop."""
        self._loop, self._server = loop, server

    def _listen(self) -> None:
        forced: int | None = None
        deadline_s: float | None = None
        while True:
            if deadline_s is not None:
                self._numbers.settimeout(max(0.001, deadline_s - time.monotonic()))
            try:
                received = self._numbers.recv(1)
            except TimeoutError:
                assert self._server is not None  # it set the deadline
                self._server.exit_now(forced)
                return
            if not received:
                os._exit(ORPHANED)
            number = received[0]
            if number not in STOP_SIGNALS:
                continue  # the signal has another handler
            now_s = time.monotonic()
            response = self._escalation.receive(number, now_s)
            if response is Response.NOTHING:
                continue
            if self._loop is None or self._server is None:
                if response is Response.RELOAD:
                    continue  # nothing is loaded yet
                os._exit(EXIT_STOPPED)  # nothing has begun, so this is the stop in order
            if response is Response.RELOAD:
                self._call(self._server.reload)
            elif response is Response.STOP:
                deadline_s = now_s + self._server.stop_timeout_s
                self._call(self._server.stop, number)
            else:
                forced, deadline_s = number, now_s + self._server.force_timeout_s
                self._call(self._server.force, number)

    def _call(self, callback: Callable[..., None], *arguments: int) -> None:
        assert self._loop is not None  # the caller has checked
        with suppress(RuntimeError):  # the loop was just closed, because the process ends
            self._loop.call_soon_threadsafe(callback, *arguments)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Do nothing. A signal needs a handler to be written to the wake-up descriptor."""
