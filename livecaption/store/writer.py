"""Run the only thread that writes. Statements come in order, and all that wait go into one transaction.

So one sync of the disk serves any number of streams, and a statement waits for two syncs at most. While the database
cannot be written, statements wait in memory and are tried again. The failure is reported once.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from livecaption.store.database import Database
from livecaption.store.rows import Statement
from livecaption.store.store import MAX_BATCH, MAX_WAITING, RETRY_S

logger = logging.getLogger(__name__)

Chore = Callable[[Database], Iterator[bool]]
"""A deletion or new title, in steps between which other statements may be written."""


class Writer:
    """The thread that writes. `start` starts it, `close` ends it. It calls the callbacks.

    Args:
        opened: opens the database file.
        written: called with the number of statements, since the start, that nobody must wait for any more.
        closed: called at the end of the thread, with the number of statements that were not written.
        retry_s: the time from a failure to the next try.
        max_waiting: the number of statements that wait for a database that does not work.
    """

    def __init__(
        self,
        opened: Callable[[], Database],
        written: Callable[[int], None],
        closed: Callable[[int], None],
        *,
        retry_s: float = RETRY_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._opened = opened
        self._retry_s = retry_s
        self._max_waiting = max_waiting
        self._written = written
        self._closed = closed
        self._database = opened()
        self._waiting: deque[Statement] = deque()
        self._chores: deque[tuple[Chore, Callable[[bool | sqlite3.Error], None]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._retry_at_s = 0.0
        self._n_written = 0
        self.failing = False
        """True if the last attempt failed."""
        self.n_failures = 0
        self.n_lost = 0
        """Number of statements that will never be written."""

    def start(self) -> None:
        threading.Thread(target=self._run, name="store", daemon=True).start()

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def submit(self, *statements: Statement) -> bool:
        """Queue statements, which are written together. Return False if too many wait; then they are lost."""
        with self._changed:
            if len(self._waiting) >= self._max_waiting:
                self.n_lost += len(statements)
                return False
            self._waiting.extend(statements)
            self._changed.notify()
            return True

    def do(self, chore: Chore, answer: Callable[[bool | sqlite3.Error], None]) -> None:
        """Do this once, after all that waits.

        The answer is its first result (False: it has none), or its error, or that of writing what waits.
        """
        with self._changed:
            self._chores.append((chore, answer))
            self._changed.notify()

    def close(self) -> None:
        """Let the thread write all that waits, and end. This does not wait for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            while True:
                self._wait()
                failure = self._write()
                if self._closing and (self.failing or not self._waiting):
                    return
                if failure:
                    self._refuse_chores(failure)
                elif self._chores and not self._waiting:  # in this order: a chore comes after what waits for it
                    self._do_chore()
        finally:
            self._database.close()
            self._closed(len(self._waiting))

    def _wait(self) -> None:
        """Wait until there is something to do or to retry, or the thread must end."""
        with self._changed:
            while not self._closing:
                if not self.failing and (self._waiting or self._chores):
                    return
                wait_s = self._retry_at_s - time.monotonic() if self.failing else None
                if wait_s is not None and wait_s <= 0:
                    return
                self._changed.wait(wait_s)

    def _write(self) -> sqlite3.Error | None:
        """Write all waiting statements. If it fails, return why."""
        while self._waiting:
            with self._changed:
                batch = list(islice(self._waiting, MAX_BATCH))
            try:
                if self.failing:
                    # Somebody may have repaired or restored the file.
                    self._database.close()
                    self._database = self._opened()
                n_left_out = self._database.write(batch)
            except sqlite3.Error as error:
                self._fail(error)
                return error
            with self._changed:
                for _ in batch:
                    self._waiting.popleft()
                self.n_lost += n_left_out
            if n_left_out:
                logger.error("%d entries cannot be stored and are left out", n_left_out)
            if self.failing:
                self.failing = False
                logger.warning("transcripts are stored again, including those that waited")
            self._n_written += len(batch)
            self._written(self._n_written)
        return None

    def _fail(self, error: sqlite3.Error) -> None:
        self.n_failures += 1
        self._retry_at_s = time.monotonic() + self._retry_s
        if not self.failing:
            self.failing = True
            logger.error("transcripts cannot be stored (%s); captions go on, and are stored later if possible", error)

    def _refuse_chores(self, failure: sqlite3.Error) -> None:
        """Answer those who wait for a chore: none is done before what cannot be written."""
        while self._chores:
            _, answer = self._chores.popleft()
            answer(failure)

    def _do_chore(self) -> None:
        chore, answer = self._chores.popleft()
        result: bool | sqlite3.Error
        try:
            self._database.check_in_place()
            steps = chore(self._database)
            result = next(steps, False)
            for _ in steps:
                self._write()
        except sqlite3.Error as error:
            result = error
        answer(result)
