"""What ends the inference process when the server is gone, however it went.

Two detectors that do not depend on each other, as in PostgreSQL's postmaster death watch: a
thread that waits for the parent's sentinel (any system, but it needs the interpreter's lock) and
Linux's parent-death signal (needs nothing of us). Beside them a dead-man's switch that needs no
lock either, for a process that is stuck in C code. While there is nothing to compute no C code can be
stuck, so the switch rests and the thread has the watch.

On macOS, where there is no such signal, a server that is killed while C code holds the lock is outlived until the
deadline of that job. On Windows the sentinel is the server's process handle, and the job object (ipc.job_object)
is what needs nothing of us. Both written by the book, never run.

Only `os._exit` ends this process: unloading a model can crash or deadlock, and the driver gives
the memory back anyway.
"""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
from multiprocessing import connection, parent_process

from livecaption.ipc.layers import Layer

EXIT_ORPHANED = 86
_PR_SET_PDEATHSIG = 1
_RECHECK_S = 1.0


def hold(server_pid: int) -> None:
    """Tie this process to the server. Must come before every heavy import.

    The signals that ask a server to stop are not for us: the server drains, and it still needs
    us for the last captions. Its end reaches us otherwise.

    Args:
        server_pid: as the server knows it. Asked for here it could be another's already.
    """
    _ignore_stop_signals()
    if Layer.PARENT_WATCH.active:
        threading.Thread(target=_watch_parent, args=(server_pid,), name="parent-watch", daemon=True).start()
    if sys.platform == "linux" and Layer.PARENT_DEATH_SIGNAL.active:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Must come after: a server that died before the signal was armed does not set it off.
    if Layer.PARENT_CHECK.active and _orphaned(server_pid):
        os._exit(EXIT_ORPHANED)


def arm_dead_man(deadline_s: float) -> None:
    """Unless disarmed in time: all stacks to stderr and exit. Needs no interpreter lock."""
    if Layer.DEAD_MAN.active:
        faulthandler.dump_traceback_later(deadline_s, exit=True)


def disarm_dead_man() -> None:
    faulthandler.cancel_dump_traceback_later()


def _ignore_stop_signals() -> None:
    if sys.platform == "win32":
        ctypes.windll.kernel32.SetConsoleCtrlHandler(None, True)
        return
    stop_signals = {signal.SIGINT, signal.SIGHUP, signal.SIGTERM}
    for number in stop_signals:
        signal.signal(number, signal.SIG_IGN)
    # Out of the terminal's foreground group: no Ctrl+C, no Ctrl+\, no hang-up from it.
    os.setsid()
    # The server blocked them around our birth, and a mask is inherited.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals)


def _watch_parent(server_pid: int) -> None:
    parent = parent_process()
    assert parent is not None  # we are a child of multiprocessing
    while True:
        # The re-check covers a third process that holds the other end of the sentinel's pipe.
        if connection.wait([parent.sentinel], _RECHECK_S) or _orphaned(server_pid):
            os._exit(EXIT_ORPHANED)


def _orphaned(server_pid: int) -> bool:
    # Compared with its pid and not with 1: an orphan goes to the nearest subreaper, which need not be 1.
    return sys.platform != "win32" and os.getppid() != server_pid
