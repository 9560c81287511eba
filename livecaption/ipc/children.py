"""How a child process of the server starts, and how it is certain to end.

`spawn`, because CUDA cannot be used after a fork, a fork among threads can deadlock, and a forked
child would inherit the listening and client sockets. Started by the thread that runs the event
loop and never by an executor's: Linux sends the parent-death signal when the *thread* that
started the child ends.
"""

import asyncio
import atexit
import importlib
import multiprocessing.process
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.context import SpawnProcess

from livecaption.ipc import lifeline
from livecaption.ipc.job_object import join_job
from livecaption.ipc.layers import Layer

KILL_TIMEOUT_S = 2.0
"""A process that is there so long after SIGKILL hangs in a driver, and no second one may have its device."""

_started: set[SpawnProcess] = set()


def start(name: str, module: str, *arguments: object) -> SpawnProcess:
    """Start a process that ties itself to this one and then calls `run(*arguments)` of a module.

    Raises:
        RuntimeError: the calling thread runs no event loop.
        OSError: there are no descriptors, processes or memory left.
    """
    asyncio.get_running_loop()
    join_job()
    process = get_context("spawn").Process(target=_live, args=(os.getpid(), module, arguments), name=name, daemon=True)
    with _signals_blocked():
        process.start()
    _started.add(process)
    return process


def _live(server_pid: int, module: str, arguments: tuple[object, ...]) -> None:
    """The first lines of the process. The module is imported by name, so that the server, which imports this one too,
    never loads what is heavy in it; the lifeline comes before all that."""
    lifeline.hold(server_pid)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of numpy: one for each core would only wait
    importlib.import_module(module).run(*arguments)


def kill(process: SpawnProcess) -> None:
    """SIGKILL, at once, from any state and any thread. Never waits."""
    if process in _started:
        with suppress(ValueError):  # reaped by another thread this moment
            process.kill()


def reap(process: SpawnProcess, timeout_s: float) -> int | None:
    """Wait for the end of a process and take its exit code; None: it is still there after all."""
    process.join(timeout_s)
    exit_code = process.exitcode
    if exit_code is not None:
        _started.discard(process)
        process.close()
    return exit_code


def kill_all() -> None:
    """The last line of defence inside this process: all that was not stopped is killed."""
    for process in list(_started):
        kill(process)


def _end_all() -> None:
    kill_all()
    for process in list(_started):
        if reap(process, KILL_TIMEOUT_S) is None:
            # multiprocessing's own hook would wait for it for ever. It has no public way to forget a child.
            getattr(multiprocessing.process, "_children").discard(process)  # noqa: B009


if Layer.EXIT_HOOK.active:
    # After the import of multiprocessing, hence run before its own hook: that one asks with SIGTERM,
    # which workers ignore, and then waits for as long as the worker lives.
    atexit.register(_end_all)


def describe_exit(exit_code: int | None) -> str:
    """'exited with status 3' or 'was killed by SIGKILL (out of memory?)'."""
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
    """Let the child be born with the stop signals blocked: it ignores them before it unblocks.

    Otherwise a Ctrl+C at this moment ends the child in its bootstrap, with a traceback.
    """
    if sys.platform == "win32":
        yield
        return
    # The tracker unblocks SIGINT and SIGTERM when it starts, so it must be running before.
    resource_tracker.ensure_running()
    stop_signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
