"""The store as the event loop sees it: nothing here waits for the disk.

    begin, append, end   at once; they report when it is written
    read, delete         answered from a thread

What is reported as written was synced to the disk. Where that takes longer than `MAX_HOLD_S`, captions go on without:
the store is behind until all that waits is written.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from livecaption.errors import StoreFailed
from livecaption.events import Final
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database, acquire
from livecaption.store.rows import NewSession, Statement
from livecaption.store.writer import RETRY_S, Chore, Writer

MAX_HOLD_S = 0.5
"""A final waits for the disk at most so long; where this was written, 2 ms at most."""
CLOSE_TIMEOUT_S = 1.0
DAY_MS = 86_400_000
EXPIRY_INTERVAL_S = 3600.0
CHORE_TIMEOUT_S = 30.0
"""For a deletion; that of an hour among a thousand takes less than one."""

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """Attributes:
    working: whether the last try to write went well.
    waiting: entries (finals, begins and ends of sessions) that are not written yet.
    failures: tries to write that failed, since the start.
    lost: entries that will never be written.
    """

    working: bool
    waiting: int
    failures: int
    lost: int


@dataclass(frozen=True, slots=True)
class _Held:
    """Who waits for the statement of that number to be written."""

    number: int
    due_s: float
    written: Callable[[], None]


class TranscriptStore:
    """Belongs to the running loop, between `open` and `close`.

    Args:
        max_hold_s: how long an event waits for its statements to be written.
        retry_s: the time from a failure to write to the next try.
    """

    def __init__(self, config: StoreConfig, *, max_hold_s: float = MAX_HOLD_S, retry_s: float = RETRY_S) -> None:
        self._max_hold_s = max_hold_s
        self._retry_s = retry_s
        self._path = Path(config.path).expanduser()
        self._keep_days = config.keep_days
        self._held: deque[_Held] = deque()
        self._n_submitted = 0
        self._behind = False
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Take the store for this process, and begin.

        Raises:
            StoreUnusable: it cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[int] = self._loop.create_future()
        self._reading = ThreadPoolExecutor(1, "store-reader")
        self._reader: Database | None = None
        self._lock = await asyncio.to_thread(acquire, self._path)
        self._writer = Writer(
            self._path,
            written=partial(self._call, self._on_written),
            closed=partial(self._call, self._closed.set_result),
            retry_s=self._retry_s,
        )
        self._writer.start()
        self._expiry = asyncio.create_task(self._expire())

    async def close(self) -> None:
        """Write what waits, at most for a second."""
        self._expiry.cancel()
        self._writer.close()
        done, _ = await asyncio.wait({self._closed}, timeout=CLOSE_TIMEOUT_S)
        n_unwritten = self._closed.result() if done else self._writer.n_waiting
        if n_unwritten:
            logger.error("%d entries of transcripts could not be stored before the end", n_unwritten)
        self._go_on()
        await asyncio.wait({self._loop.run_in_executor(self._reading, self._close_reader)}, timeout=CLOSE_TIMEOUT_S)
        self._reading.shutdown(wait=False, cancel_futures=True)
        if done:  # else its thread still writes
            self._lock.close()

    @property
    def figures(self) -> StoreFigures:
        writer = self._writer
        return StoreFigures(not writer.failing, writer.n_waiting, writer.n_failures, writer.n_lost)

    # Writing

    # `written` is called, in the order of these calls, once it is written or need not be waited for any more. That may
    # be before they return.

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        self._submit(rows.begin(session), written)

    def append(
        self, session_id: SessionId, final: Final, seq: int, checkpoint_ms: int | None, written: Callable[[], None]
    ) -> None:
        """`seq` is the number of its event; `checkpoint_ms`, if it is known, what `checkpoint` says with this final."""
        checkpoint = [] if checkpoint_ms is None else [rows.checkpoint(session_id, checkpoint_ms)]
        self._submit([rows.append(session_id, final, seq), *checkpoint], written)

    def checkpoint(self, session_id: SessionId, checkpoint_ms: int) -> None:
        """Audio before it is in the finals so far, or has none: a server that was started anew need not hear it."""
        self._submit([rows.checkpoint(session_id, checkpoint_ms)], _nobody_waits)

    def reopen(self, session_id: SessionId) -> None:
        """The publisher has come back to an interrupted session."""
        self._submit(rows.reopen(session_id), _nobody_waits)

    def give_up(self, session_id: SessionId) -> None:
        """An interrupted session cannot go on any more."""
        self._submit(rows.end(session_id, 0), _nobody_waits)

    def end(self, session_id: SessionId, duration_ms: int, written: Callable[[], None]) -> None:
        self._submit(rows.end(session_id, duration_ms), written)

    async def delete(self, session_id: str) -> bool:
        """Delete a session, its words in the index and its traces in the file. Whether there was one.

        Raises:
            StoreFailed: it is still there, or traces of it.
        """
        return await self._do(lambda database: database.delete(session_id))

    def _submit(self, statements: list[Statement], written: Callable[[], None]) -> None:
        submitted = self._writer.submit(*statements)
        self._n_submitted += len(statements) if submitted else 0
        if not submitted or self._behind:
            written()
            return
        self._held.append(_Held(self._n_submitted, self._loop.time() + self._max_hold_s, written))
        if self._timer is None:
            self._timer = self._loop.call_later(self._max_hold_s, self._check_due)

    def _on_written(self, n_written: int) -> None:
        while self._held and self._held[0].number <= n_written:
            self._held.popleft().written()
        if n_written == self._n_submitted:
            self._behind = False

    def _check_due(self) -> None:
        self._timer = None
        if not self._held:
            return
        wait_s = self._held[0].due_s - self._loop.time()
        if wait_s > 0:
            self._timer = self._loop.call_later(wait_s, self._check_due)
        else:
            logger.warning("the store takes more than %.1f s to write: captions go out before it has", self._max_hold_s)
            self._behind = True
            self._go_on()

    def _go_on(self) -> None:
        while self._held:
            self._held.popleft().written()

    async def _do(self, chore: Chore) -> bool:
        answered: asyncio.Future[bool | sqlite3.Error] = self._loop.create_future()
        self._writer.do(chore, partial(self._call, _answer, answered))
        try:
            async with asyncio.timeout(CHORE_TIMEOUT_S):
                result = await answered
        except TimeoutError:
            raise StoreFailed("the transcripts take too long to change; it may still be done") from None
        if isinstance(result, sqlite3.Error):
            raise StoreFailed(f"the transcripts cannot be changed now: {result}")
        return result

    async def _expire(self) -> None:
        """What is too old, now and every hour. At first also what a deletion has left that was cut short."""
        with suppress(StoreFailed):  # the next start will do
            await self._do(Database.purge)
        while self._keep_days:
            oldest_ms = round(time.time() * 1000 - self._keep_days * DAY_MS)
            with suppress(StoreFailed):  # the next hour will do
                await self._do(partial(Database.expire, before_ms=oldest_ms))
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        """From the writer's thread to the loop's."""
        with suppress(RuntimeError):  # the loop is closed: nobody waited for us
            self._loop.call_soon_threadsafe(callback, *arguments)

    # Reading

    async def read(self, question: Callable[[Database], Answer]) -> Answer:
        """Ask the database, in the one thread that reads; so what is asked may take its time.

        Raises:
            StoreFailed: it does not answer.
        """
        try:
            return await self._loop.run_in_executor(self._reading, self._ask, question)
        except sqlite3.Error as error:
            raise StoreFailed(f"the transcripts cannot be read now: {error}") from None

    def _ask(self, question: Callable[[Database], Answer]) -> Answer:
        if self._reader is None:
            self._reader = Database(self._path)
        try:
            self._reader.check_in_place()
            return question(self._reader)
        except sqlite3.Error:
            self._close_reader()
            raise

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _nobody_waits() -> None:
    """For it to be written."""


def _answer(answered: "asyncio.Future[bool | sqlite3.Error]", result: bool | sqlite3.Error) -> None:
    if not answered.done():  # who asked may have gone
        answered.set_result(result)
