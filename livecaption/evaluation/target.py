"""The target of an attack, and the report of an attack."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import psutil


@dataclass(frozen=True, slots=True)
class Target:
    """A server under attack.

    Attributes:
        url: its URL, with a slash at the end.
        pid: process id of the server.
        worker_pids: process ids of its workers; its other child processes are decoders.
        session: id of a public session of another client.
        containers: a recording in all kinds of containers, by name.
        seconds: duration of an attack that is bounded by time.
        share: factor (0 to 1) of the counts of attacks that are bounded by count.
        n_mutants: number of damaged containers to send.
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
        """The present resident memory of the server process."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def count(self, n: int) -> int:
        """Scale the count `n` by `share`; the result is at least one."""
        return max(1, round(n * self.share))


@dataclass(slots=True)
class Report:
    """The report of an attack.

    Attributes:
        n_sessions: number of connections that it opened; the server may log each of them.
        outcomes: counts of outcomes. That of a container is `end`, an error code, or `closed` without either.
        faults: descriptions of faults that it found.
    """

    n_sessions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


Attack = Callable[[Target], Awaitable[Report]]
