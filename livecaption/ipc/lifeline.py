"""A child process ends itself when the server has ended, in whichever way.

Two detectors do not depend on each other, as in PostgreSQL's postmaster death watch. A thread waits for the parent's
sentinel: this works on every system, but needs the interpreter's lock. Linux's parent-death signal needs no code in
this process. A dead-man's switch, which needs no lock either, ends a process that is stuck in C code. It is armed only
during computations, because at other times no C code can be stuck.

macOS has no parent-death signal. If the server is killed there while C code holds the lock, the child lives until the
deadline of its batch. On Windows the sentinel is the server's process handle, and the job object (ipc.job_object) needs
no code in this process. Both were written after the documentation and are untested.

Only `os._exit` ends this process. Unloading a model can crash or deadlock, and the driver frees the memory anyway.
"""

import ctypes
import faulthandler
import gc
import importlib
import os
import signal
import sys
import threading
from multiprocessing import connection, parent_process

from livecaption.ipc import logs
from livecaption.ipc.config import LogConfig
from livecaption.ipc.layers import Layer

EXIT_ORPHANED = 86
EXIT_DEAD_MAN = 1
"""The exit status of the dead-man's switch, which `faulthandler` chooses."""
_PR_SET_PDEATHSIG = 1
_RECHECK_S = 1.0


def run_child(server_pid: int, log: LogConfig, module: str, arguments: tuple[object, ...]) -> None:
    """Run in the child process: tie it to the server first, then import the module and call its `run`.

    The module is imported by name, so that the server never loads the heavy libraries of an inference process. This
    function is here and not in `children`, whose asyncio takes a sixth of the time that a child process needs to start.
    """
    hold(server_pid)
    logs.configure(log)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads would have no work
    gc.disable()  # imports make no garbage, and the collector would look for it some 50 times
    program = importlib.import_module(module)
    gc.enable()
    program.run(*arguments)


def hold(server_pid: int) -> None:
    """Tie this process to the server. Call this before every heavy import.

    The process ignores the signals that ask a server to stop. The server drains its streams after them, and needs its
    child processes for the last captions. The other mechanisms end the process together with the server.

    Args:
        server_pid: the server's process id, taken in the server. The parent's id taken here may already be another
            process's, if the server has ended.
    """
    ignore_stop_signals()
    if sys.platform != "win32":
        # Leave the terminal's foreground group, so that Ctrl+C, Ctrl+\ and a hang-up do not reach this process.
        os.setsid()
    if Layer.PARENT_WATCH.active:
        threading.Thread(target=_watch_parent, args=(server_pid,), name="parent-watch", daemon=True).start()
    die_with_parent()
    # This check must come last, because a server that ended before the signal was armed does not trigger it.
    if Layer.PARENT_CHECK.active and _orphaned(server_pid):
        os._exit(EXIT_ORPHANED)


def die_with_parent() -> None:
    """Let Linux kill this process when the thread that started it has ended."""
    if sys.platform == "linux" and Layer.PARENT_DEATH_SIGNAL.active:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def arm_dead_man(deadline_s: float) -> None:
    """Write all stacks to stderr and exit after the deadline, unless disarmed. This needs no interpreter lock."""
    if Layer.DEAD_MAN.active:
        faulthandler.dump_traceback_later(deadline_s, exit=True)


def disarm_dead_man() -> None:
    faulthandler.cancel_dump_traceback_later()


def ignore_stop_signals() -> None:
    """Ignore the signals that ask a server to stop, and let through those that came meanwhile."""
    if sys.platform == "win32":
        ctypes.windll.kernel32.SetConsoleCtrlHandler(None, True)
        return
    stop_signals = {signal.SIGINT, signal.SIGHUP, signal.SIGTERM}
    for number in stop_signals:
        signal.signal(number, signal.SIG_IGN)
    # The server blocked these signals while it started this process, which inherited the mask.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals)


def _watch_parent(server_pid: int) -> None:
    parent = parent_process()
    assert parent is not None  # multiprocessing started this process
    while True:
        # The check each second is for a third process that holds the other end of the sentinel's pipe open.
        if connection.wait([parent.sentinel], _RECHECK_S) or _orphaned(server_pid):
            os._exit(EXIT_ORPHANED)


def _orphaned(server_pid: int) -> bool:
    # Compare with the server's pid, not with 1: the new parent of an orphan is the nearest subreaper.
    return sys.platform != "win32" and os.getppid() != server_pid
