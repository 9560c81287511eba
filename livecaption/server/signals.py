"""Stop signals -> the running loop.

    first SIGINT, SIGTERM or SIGHUP                   stop in order
    SIGINT or SIGTERM again, at least 0.3 s later     stop at once, exit code 128 + number
    any other                                         nothing

A thread of its own takes them, through the wake-up descriptor that the interpreter's C handler
writes to. Python's handlers run in the main thread alone, and so not while that is blocked in C,
nor, if the signal comes just before it goes to sleep in `epoll_wait`, until something else wakes
it. The loop's `add_signal_handler` needs a turn of the loop. The thread needs neither, works before
there is a loop and on Windows, and ends the process where the loop does not: a stop in order within
its budget, a forced one within 0.2 s.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # Not loaded here: the handlers must be in place before anything slow is.
    import asyncio

MIN_GAP_S = 0.3
"""`uv run` forwards a copy of a Ctrl+C after 0.2 s, and `tini -g` and terminals double signals too."""
FORCE_TIMEOUT_S = 0.2
"""How long the loop may take for the forced stop before the thread does it."""

if sys.platform == "win32":
    HANG_UP = None
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
else:
    HANG_UP = signal.SIGHUP
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Response(Enum):
    """What a signal asks for."""

    STOP = "stop in order"
    FORCE = "stop at once"
    NOTHING = "nothing"


class Escalation:
    """One signal after the other -> what each asks for. Pure."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._forced = False

    def receive(self, number: int, now_s: float) -> Response:
        """A stop signal came at `now_s` (monotonic)."""
        if self._first_s is None:
            self._first_s = now_s
            return Response.STOP
        # A hang-up never escalates: shell, kernel and systemd each send one.
        if self._forced or number == HANG_UP or now_s - self._first_s < MIN_GAP_S:
            return Response.NOTHING
        self._forced = True
        return Response.FORCE


class Stoppable(Protocol):
    """What the signals act upon."""

    stop_timeout_s: float
    """How long a stop in order may take."""

    def stop(self, number: int) -> None:
        """Begin to stop in order. Called in the loop."""

    def force(self, number: int) -> None:
        """End the process within 0.2 s, with exit code 128 + number. Called in the loop."""

    def exit_now(self, number: int | None) -> None:
        """End the process at once, forced by that signal or, None, out of time. Called in any thread."""


class SignalInbox:
    """Takes the stop signals from the first line of the program on."""

    def __init__(self, numbers: socket.socket) -> None:
        self._numbers = numbers
        self._escalation = Escalation()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Stoppable | None = None

    @classmethod
    def install(cls) -> "SignalInbox":
        """Take the signals from now on. Call it in the main thread, once, before heavy imports."""
        numbers, wake_up = socket.socketpair()
        wake_up.setblocking(False)
        # `detach`: the descriptor lives as long as the process.
        signal.set_wakeup_fd(wake_up.detach(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # `nohup` starts its program with hang-ups ignored, and means it.
            if number != HANG_UP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _leave_it_to_the_thread)
        inbox = cls(numbers)
        threading.Thread(target=inbox._listen, name="signals", daemon=True).start()
        return inbox

    def attach(self, loop: "asyncio.AbstractEventLoop", server: Stoppable) -> None:
        """From now on, signals are for `server`, which runs in this loop."""
        self._loop, self._server = loop, server

    def _listen(self) -> None:
        forced: int | None = None
        deadline_s: float | None = None
        while True:
            if deadline_s is not None:
                self._numbers.settimeout(max(0.001, deadline_s - time.monotonic()))
            try:
                number = self._numbers.recv(1)[0]
            except TimeoutError:
                assert self._server is not None  # it set the deadline
                self._server.exit_now(forced)
                return
            if number not in STOP_SIGNALS:
                continue  # somebody else's handler
            now_s = time.monotonic()
            response = self._escalation.receive(number, now_s)
            if response is Response.NOTHING:
                continue
            if self._loop is None or self._server is None:
                # Nothing runs yet that could end in order.
                os._exit(128 + number)
            if response is Response.STOP:
                deadline_s = now_s + self._server.stop_timeout_s
                self._call(self._server.stop, number)
            else:
                forced, deadline_s = number, now_s + FORCE_TIMEOUT_S
                self._call(self._server.force, number)

    def _call(self, callback: Callable[[int], None], number: int) -> None:
        assert self._loop is not None  # the caller looked
        with suppress(RuntimeError):  # closed this very moment: the process ends
            self._loop.call_soon_threadsafe(callback, number)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Only a signal that has a handler reaches the wake-up descriptor."""
