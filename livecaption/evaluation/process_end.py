"""Wait for the end of any process in the event loop (pidfd, Linux)."""

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

TIMEOUT_FACTOR = float(os.environ.get("LIVECAPTION_TEST_TIMEOUT_FACTOR", "1"))
"""Factor of all time limits, for slow machines."""
LOOK_S = 0.05
"""Interval in which the waiting for processors is read. It is shorter than the limits."""


class Patience:
    """The time that processes have for something. It stands still while one of them waits for a processor.

    Beside other programs a process may wait for a second before it computes for a millisecond. The kernel counts that
    time for each thread. This process counts too, because it has to notice what the others do.

    Args:
        within_s: the time that they have.
        pids: the processes.
    """

    def __init__(self, within_s: float, pids: Iterable[int]) -> None:
        self.within_s = within_s
        self._left_s = within_s * TIMEOUT_FACTOR
        self._waited_s = {pid: _waited_s(pid) for pid in (os.getpid(), *pids)}
        self._looked_s = time.monotonic()

    def left_s(self) -> float:
        """Return what is left of the time. It is to be called at short intervals."""
        now_s = time.monotonic()
        waited_s = {pid: max(before_s, _waited_s(pid)) for pid, before_s in self._waited_s.items()}
        hindered_s = sum(waited_s.values()) - sum(self._waited_s.values())
        self._left_s -= max(0.0, now_s - self._looked_s - hindered_s)
        self._looked_s, self._waited_s = now_s, waited_s
        return self._left_s


def _waited_s(pid: int) -> float:
    """Return how long the threads of a process have waited for a processor; 0 if it has ended."""
    waited_ns = 0
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                waited_ns += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[1])
    return waited_ns / 1e9


class ProcessEnd:
    """The end of a process, which need not be a child. A new process with the same pid is never mistaken for it.

    Raises:
        ProcessLookupError: the process has already ended.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[float] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._note)
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def wait(self, within_s: float, what: str = "the process") -> float:
        """Wait for the end, and return its time (time.monotonic).

        Raises:
            TimeoutError: the process did not end within the time.
        """
        return await self.wait_with(Patience(within_s, [self.pid]), what)

    async def wait_with(self, patience: Patience, what: str) -> float:
        """Wait like `wait`, for a time that others share, or that others may delay."""
        while not self._ended.done():
            left_s = patience.left_s()
            if left_s <= 0:
                raise TimeoutError(f"not ended within {patience.within_s:.3f} s: {what}")
            await asyncio.wait({self._ended}, timeout=min(left_s, LOOK_S))
        return self._ended.result()

    @property
    def ended_s(self) -> float:
        """The time of the end (time.monotonic). The process must have ended."""
        return self._ended.result()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)

    def _note(self) -> None:
        self._loop.remove_reader(self._pidfd)
        if not self._ended.done():
            self._ended.set_result(time.monotonic())
