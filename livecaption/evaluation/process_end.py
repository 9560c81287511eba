"""Wait for the end of any process in the event loop (pidfd, Linux)."""

import asyncio
import os
import time
from typing import Self

TIMEOUT_FACTOR = float(os.environ.get("LIVECAPTION_TEST_TIMEOUT_FACTOR", "1"))
"""Factor of all time limits, for slow machines."""


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
        done, _ = await asyncio.wait({self._ended}, timeout=max(0.0, within_s * TIMEOUT_FACTOR))
        if not done:
            raise TimeoutError(f"not ended within {within_s:.3f} s: {what}")
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
