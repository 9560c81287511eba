"""A server under attack, and what an attack finds."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import psutil


@dataclass(frozen=True, slots=True)
class Target:
    """A server under attack.

    Attributes:
        url: its address, with a slash at the end.
        pid: of the server process.
        worker_pids: of its inference processes; its other children are decoders.
        session: one that anybody may read, and that is not the attacker's.
        containers: a recording in all kinds, by name.
        seconds: how long an attack lasts that is bounded by time.
        share: of the counts of those that are bounded by count.
        n_mutants: containers to damage.
    """

    url: str
    pid: int
    worker_pids: tuple[int, ...]
    session: str
    containers: Mapping[str, bytes]
    seconds: float
    share: float
    n_mutants: int

    @property
    def memory_bytes(self) -> int:
        """What the server process has resident now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def count(self, n: int) -> int:
        """How many instead of `n`; at least one."""
        return max(1, round(n * self.share))


@dataclass(slots=True)
class Report:
    """What an attack found.

    Attributes:
        n_sessions: how many connections it opened, each of which the server may log.
        outcomes: of containers: `end`, a code, or `closed` where neither came.
        faults: what should not be, in words.
    """

    n_sessions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


Attack = Callable[[Target], Awaitable[Report]]
