"""Watch the event loop: notify systemd while it turns, and write stacks where it is blocked, or on request."""

import asyncio
import faulthandler
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from livecaption.server.systemd import ServiceManager

TURN_INTERVAL_S = 1.0
MAX_LAG_S = 1.0
"""Lag of the loop above which systemd is not notified that the server is alive."""
BLOCKED_AFTER_S = 5.0
"""Time without a turn of the loop after which the stacks of all threads are written to stderr."""
EXTEND_START_US = 10_000_000

logger = logging.getLogger("livecaption")


async def watch_loop(manager: ServiceManager, is_loading: Callable[[], bool]) -> None:
    """Notify systemd while the loop runs in time. If it is blocked, write all stacks to stderr.

    `is_loading` returns whether the start goes on, which takes more time.
    """
    interval_s = min(TURN_INTERVAL_S, manager.watchdog_s / 2) if manager.watchdog_s else TURN_INTERVAL_S
    with _stacks_without_a_turn() as turned:
        while True:
            turned.set()
            began_s = time.monotonic()
            await asyncio.sleep(interval_s)
            lag_s = time.monotonic() - began_s - interval_s
            if lag_s > MAX_LAG_S:
                logger.warning("the event loop was blocked, or this process stopped, for %.1f s", lag_s)
            elif is_loading():
                manager.notify(EXTEND_TIMEOUT_USEC=EXTEND_START_US)
            elif manager.watchdog_s:
                manager.notify(WATCHDOG=1)


@contextmanager
def _stacks_without_a_turn() -> Iterator[threading.Event]:
    """Write all stacks to stderr, once, if the event is not set for `BLOCKED_AFTER_S`.

    A thread does this, although it cannot run while C code holds the interpreter's lock. The alternative
    `faulthandler.dump_traceback_later` reads the stacks of running threads without the lock. With it, one of 42 servers
    that were stopped by SIGSTOP for 6 s crashed when it continued.
    """
    turned, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if not turned.wait(BLOCKED_AFTER_S):
                # Write the stacks first: if the loop is blocked in a log call, this thread cannot log.
                faulthandler.dump_traceback()
                logger.warning("the event loop is blocked, or this process was stopped; see the stacks above")
                turned.wait()
            turned.clear()

    watcher = threading.Thread(target=watch, name="loop watch", daemon=True)
    watcher.start()
    try:
        yield turned
    finally:
        ended.set()
        turned.set()
        watcher.join()


def dump_stacks_when_asked(of_children: Callable[[], None]) -> None:
    """On SIGUSR1, write the stacks of all threads to stderr. `of_children` asks the child processes for theirs."""
    if sys.platform != "win32":
        loop = asyncio.get_running_loop()
        # The loop's own handlers are not used, because they would take the wake-up descriptor from the stop signals.
        signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(of_children))
        # faulthandler runs before that handler, so this process's stacks are written even if the loop is blocked.
        faulthandler.register(signal.SIGUSR1, chain=True)
