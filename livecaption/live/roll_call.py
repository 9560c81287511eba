"""Find out which silent publishers are still there, when a new stream needs a slot.

A publisher whose network broke sends no word of it. It would keep its slot until its heartbeat fails, and it may be the
one that has just come back over another network.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

INTERVAL_S = 2.0
"""Time between two roll calls. Shorter: refused clients make others answer more pings. Longer: a publisher that returns
over another network may be refused for longer."""


class Absent(Protocol):
    """A connection whose publisher may be gone."""

    async def drop_if_dead(self) -> None:
        """Give up a publisher that is silent and answers no ping."""


class RollCall:
    """The roll calls of one server."""

    def __init__(self) -> None:
        self._began_s = float("-inf")
        self._answers: asyncio.Future[list[None]] | None = None

    async def hold(self, connections: Iterable[Absent]) -> None:
        """Drop those connections whose publishers are gone. Return early if that was done a moment ago."""
        now_s = time.monotonic()
        if self._answers is None or now_s - self._began_s >= INTERVAL_S:
            self._began_s = now_s
            self._answers = asyncio.gather(*(connection.drop_if_dead() for connection in list(connections)))
        await asyncio.shield(self._answers)
