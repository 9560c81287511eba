"""Keep one SQLite file for the processes of one server. Their parent does this; it writes nothing that people said.

It has the lock that keeps other servers away, and deals out the sessions that no process has: those of an earlier
server, and those of a process that has died. Each method blocks on the disk.
"""

import contextlib
import sqlite3
from collections.abc import Sequence

from livecaption.errors import StoreFailed
from livecaption.store import owners
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database
from livecaption.store.ownership import acquire, located
from livecaption.store.shared import BUSY_TIMEOUT_S
from livecaption.store.store import now_ms


class Keeper:
    """The keeper of one file."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._lock: sqlite3.Connection | None = None

    def open(self, processes: Sequence[str]) -> None:
        """Take the file, and deal the sessions that can go on out to these processes.

        Raises:
            StoreUnusable: another server has it, or it cannot be used.
        """
        self._path = located(self._config.path)
        self._lock = acquire(self._path)
        with contextlib.closing(Database(self._path)) as database, database.transaction():
            for remainder, owner in enumerate(processes):
                database.execute(*owners.deal_out(owner, len(processes), remainder))

    def pass_on(self, dead: str, successor: str) -> None:
        """Let a process that is about to start have the sessions of one that has died. They are interrupted.

        Raises:
            StoreFailed: the file cannot be written. The sessions can still be taken over.
        """
        try:
            with (
                contextlib.closing(Database(self._path, busy_timeout_s=BUSY_TIMEOUT_S)) as database,
                database.transaction(),
            ):
                for statement in owners.pass_on(dead, successor, now_ms()):
                    database.execute(*statement)
        except sqlite3.Error as error:
            raise StoreFailed(f"the transcripts cannot be changed now: {error}") from None

    def close(self) -> None:
        """Let other servers have the file."""
        if self._lock is not None:
            self._lock.close()
