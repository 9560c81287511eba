"""Start and reap an inference process. The part that all child processes share is in `ipc.children`."""

import asyncio
import os
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from livecaption.ipc import children
from livecaption.ipc.config import EngineConfig, StaleConfig
from livecaption.ipc.locks import discard_lock

DEFAULT_STALE = StaleConfig()
LOOK_S = 0.01
"""Time in s between two looks whether a process has ended. Longer: its replacement starts later."""


def spawn(
    config: EngineConfig, load_timeout_s: float, stale: StaleConfig = DEFAULT_STALE
) -> tuple[SpawnProcess, Connection]:
    """Start an inference process, and return it with the server's end of its pipe.

    Raises:
        RuntimeError: the calling thread runs no event loop.
        OSError: no descriptors, processes or memory are left.
    """
    ours, theirs = get_context("spawn").Pipe(duplex=True)
    try:
        process = children.start(
            "livecaption-worker", "livecaption.engine.main", config, load_timeout_s, stale, os.getpid(), theirs
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def reap(process: SpawnProcess, timeout_s: float) -> int | None:
    """Call `children.reap`, and remove the lock of a process that has ended."""
    pid = process.pid
    exit_code = children.reap(process, timeout_s)
    if exit_code is not None and pid is not None:
        with suppress(OSError):
            discard_lock(pid)
    return exit_code


async def reaped(process: SpawnProcess, timeout_s: float) -> int | None:
    """Call `reap` until the process has ended or the time is over. A thread would be simpler, but may not be free."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + timeout_s
    while (exit_code := reap(process, 0.0)) is None and loop.time() < until_s:  # noqa: ASYNC110 - no event on all systems
        await asyncio.sleep(LOOK_S)
    return exit_code
