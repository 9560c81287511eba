"""Child processes of the server start here, and none of them outlives the server.

The start method is `spawn`. CUDA cannot be used after a fork, a fork among threads can deadlock, and a forked child
would inherit the listening and client sockets. Only the thread of the event loop starts children, never a thread of an
executor. Linux sends the parent-death signal when the *thread* that started the child ends.
"""

import asyncio
import atexit
import multiprocessing.process
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.context import SpawnProcess

from livecaption.ipc import lifeline, logs
from livecaption.ipc.config import LogConfig
from livecaption.ipc.job_object import join_job
from livecaption.ipc.layers import Layer

KILL_TIMEOUT_S = 2.0
"""Time that the exit of the server waits for each process that it killed.

A process that takes longer hangs in a driver.
"""

_started: set[SpawnProcess] = set()


def start(name: str, module: str, *arguments: object, log: LogConfig | None = None) -> SpawnProcess:
    """Start a process that ends together with this one and calls `run(*arguments)` of a module.

    Args:
        name: for the log.
        module: has `run`.
        arguments: what can be pickled, and sockets, which the process gets too.
        log: the settings of its log; None: those of this process.

    Raises:
        RuntimeError: the calling thread runs no event loop.
        OSError: no descriptors, processes or memory are left.
    """
    asyncio.get_running_loop()
    join_job()
    settings = log or logs.of_children()
    # No daemon in the sense of multiprocessing, whose daemons cannot start processes. The exit hook below is enough.
    process = get_context("spawn").Process(
        target=lifeline.run_child, args=(os.getpid(), settings, module, arguments), name=name, daemon=False
    )
    with _signals_blocked():
        process.start()
    _started.add(process)
    return process


def kill(process: SpawnProcess) -> None:
    """Send SIGKILL at once, in any state and from any thread, without waiting."""
    if process in _started:
        with suppress(ValueError):  # another thread reaps it at this moment
            process.kill()


def reap(process: SpawnProcess, timeout_s: float) -> int | None:
    """Wait until a process ends, and return its exit code, or None if it still runs after the timeout."""
    process.join(timeout_s)
    exit_code = process.exitcode
    if exit_code is not None:
        _started.discard(process)
        process.close()
    return exit_code


def kill_all() -> None:
    """Kill every child process that was not stopped before. This is the last defence inside the server process."""
    for process in list(_started):
        kill(process)


def _end_all() -> None:
    kill_all()
    for process in list(_started):
        if reap(process, KILL_TIMEOUT_S) is None:
            # The exit hook of multiprocessing would wait for this process for ever, and no public call removes it.
            getattr(multiprocessing.process, "_children").discard(process)  # noqa: B009


if Layer.EXIT_HOOK.active:
    # Registered after multiprocessing was imported, so this hook runs before the one of multiprocessing. That one sends
    # SIGTERM, which workers ignore, and then waits until the worker ends.
    atexit.register(_end_all)


def describe_exit(exit_code: int | None) -> str:
    """Describe the end of a process, as in 'exited with status 3' or 'was killed by SIGKILL (out of memory?)'."""
    if exit_code is None:
        return "does not end although it was killed (stuck in a driver?)"
    if exit_code >= 0:
        return f"exited with status {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the stop signals while the child starts. It inherits the mask, ignores the signals, then unblocks them.

    Otherwise Ctrl+C at this moment ends the child in its bootstrap, with a traceback.
    """
    if sys.platform == "win32":
        yield
        return
    # The resource tracker unblocks SIGINT and SIGTERM when it starts, so it must run before they are blocked.
    resource_tracker.ensure_running()
    stop_signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
