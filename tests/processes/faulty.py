"""Run `livecaption serve` with a fault that occurs at SIGUSR2: `python faulty.py FAULT serve ...`.

The faults are injected here, so that the program itself has no switch for them.
"""

import asyncio
import ctypes
import importlib.abc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType, ModuleType

BLOCKED_S = 30.0


def block() -> None:
    """Block for half a minute."""
    tell("blocked")
    time.sleep(BLOCKED_S)


def block_loop() -> None:
    """Block the event loop in a callback, after the code that the signal interrupted is done."""
    asyncio.get_running_loop().call_soon_threadsafe(block)


def block_log() -> None:
    """Block the event loop while it holds the lock of the log, as when the reader of the log blocks."""
    for handler in logging.getLogger().handlers:
        handler.acquire()
    block()


def leave() -> None:
    """End the process like a library that calls `os._exit`."""
    os._exit(0)


def segfault() -> None:
    """Crash like native code."""
    ctypes.string_at(0)


def exit_in_callback() -> None:
    """End the program from a callback of the loop, like a library that calls `sys.exit`."""
    asyncio.get_running_loop().call_soon(sys.exit, 5)


def forget_workers() -> None:
    """Make the orderly stop leave the workers running."""
    from livecaption.workers.pool import WorkerPool

    async def forget(_: WorkerPool) -> None:
        """Replace `stop` and do nothing."""

    WorkerPool.stop = forget
    tell("forgotten")


def exit_without_stop() -> None:
    """End the program like a library, so that only the interpreter's exit hook ends the workers."""
    from livecaption.server import lifecycle

    forget_workers()
    lifecycle.children = ModuleType("children")  # type: ignore[attr-defined]
    lifecycle.children.kill_all = lambda: None  # type: ignore[attr-defined]
    exit_in_callback()


def break_watch() -> None:
    """End a necessary task of the server with an exception, by removing its clock."""
    from livecaption.server import loop_watch

    loop_watch.time = None  # type: ignore[attr-defined]


def break_presence() -> None:
    """End the task that shows other servers that this one runs with an exception."""
    from livecaption.store.postgresql import presence

    presence.ownership = None  # type: ignore[attr-defined]


FAULTS: dict[str, Callable[[], None]] = {
    "block-loop": block_loop,
    "block-log": block_log,
    "leave": leave,
    "segfault": segfault,
    "exit-in-callback": exit_in_callback,
    "forget-workers": forget_workers,
    "exit-without-stop": exit_without_stop,
    "break-watch": break_watch,
    "break-presence": break_presence,
}


class SlowFinder(importlib.abc.MetaPathFinder):
    """Delays the import of the command line, like a cold disk."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "livecaption.cli":
            tell("importing")
            time.sleep(BLOCKED_S)


def tell(text: str) -> None:
    print(f"fault: {text}", file=sys.stderr, flush=True)


def main() -> int:
    fault = sys.argv.pop(1)
    if fault == "slow-import":
        sys.meta_path.insert(0, SlowFinder())
    else:

        def break_out(_: int, __: FrameType | None) -> None:
            FAULTS[fault]()

        signal.signal(signal.SIGUSR2, break_out)
    from livecaption.__main__ import main as livecaption

    return livecaption()


if __name__ == "__main__":
    sys.exit(main())
