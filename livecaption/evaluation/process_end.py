"""The end of a process as an event of the running loop (pidfd, Linux)."""

import asyncio
import os
import time
from typing import Self

TIMEOUT_FACTOR = float(os.environ.get("LIVECAPTION_TEST_TIMEOUT_FACTOR", "1"))
"""By which every limit of time is multiplied, for slow machines."""


class ProcessEnd:
    """The end of any process, as an event: exact to the loop's turn, and never of another one with the same pid.

    Raises:
        ProcessLookupError: there is no such process any more.
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
        """When it ended (time.monotonic).

        Raises:
            TimeoutError: it has not within the time.
        """
        done, _ = await asyncio.wait({self._ended}, timeout=max(0.0, within_s * TIMEOUT_FACTOR))
        if not done:
            raise TimeoutError(f"not ended within {within_s:.3f} s: {what}")
        return self._ended.result()

    @property
    def ended_s(self) -> float:
        """When it ended (time.monotonic); it must have."""
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
