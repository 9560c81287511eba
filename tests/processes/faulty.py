"""`livecaption serve` with a fault that breaks out at SIGUSR2: `python faulty.py FAULT serve ...`.

Faults are put in from outside, so that the program itself has no switch for them.
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
    """Nothing for half a minute."""
    tell("blocked")
    time.sleep(BLOCKED_S)


def block_loop() -> None:
    """The event loop does not turn: a callback blocks it, so that whatever the signal came upon is done first."""
    asyncio.get_running_loop().call_soon_threadsafe(block)


def block_log() -> None:
    """The event loop does not turn, and holds the lock of the log, as when nobody reads what is logged."""
    for handler in logging.getLogger().handlers:
        handler.acquire()
    block()


def leave() -> None:
    """A library ends the process."""
    os._exit(0)


def segfault() -> None:
    """Native code crashes."""
    ctypes.string_at(0)


def exit_in_callback() -> None:
    """A library ends the program from a callback of the loop."""
    asyncio.get_running_loop().call_soon(sys.exit, 5)


def forget_workers() -> None:
    """The orderly stop leaves the workers where they are."""
    from livecaption.workers.pool import WorkerPool

    async def forget(_: WorkerPool) -> None:
        """In place of `stop`."""

    WorkerPool.stop = forget  # type: ignore[method-assign]
    tell("forgotten")


def exit_without_stop() -> None:
    """A library ends the program, and nothing of ours ends the workers but the hook at the interpreter's exit."""
    from livecaption.server import lifecycle

    forget_workers()
    lifecycle.children = ModuleType("children")  # type: ignore[attr-defined]
    lifecycle.children.kill_all = lambda: None  # type: ignore[attr-defined]
    exit_in_callback()


def break_watch() -> None:
    """A task that the server cannot do without ends with an exception: its clock is gone."""
    from livecaption.server import lifecycle

    lifecycle.time = None  # type: ignore[attr-defined]


FAULTS: dict[str, Callable[[], None]] = {
    "block-loop": block_loop,
    "block-log": block_log,
    "leave": leave,
    "segfault": segfault,
    "exit-in-callback": exit_in_callback,
    "forget-workers": forget_workers,
    "exit-without-stop": exit_without_stop,
    "break-watch": break_watch,
}


class SlowFinder(importlib.abc.MetaPathFinder):
    """Makes the import of the command line slow, as a cold disk does."""

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
