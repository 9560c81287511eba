"""Offer the store to the event loop. Nothing here blocks on the disk.

    begin, append, end   return at once, and report when it is written
    read, delete         are answered from a thread

Data that is reported as written was synced to the disk. If that takes longer than `MAX_HOLD_S`, captions are sent
before it. The store is then behind until all that waits is written. The log reports it before the first of these
captions is sent, so it shows whether the server's end can have cost a final that somebody has seen.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from livecaption.errors import StoreFailed, StoreUnusable
from livecaption.events import Final, SpeakerNamed, Translation
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.config import NO_HOME, StoreConfig
from livecaption.store.database import Database
from livecaption.store.ownership import acquire
from livecaption.store.rows import NewSession, RoomRecord, Statement
from livecaption.store.writer import RETRY_S, Chore, Writer

MAX_HOLD_S = 0.5
"""Longest time in s for which a final waits for the disk (2 ms at most where it was measured). Longer: a slow disk
delays captions more. Shorter: more captions are sent before they are stored."""
CLOSE_TIMEOUT_S = 1.0
DAY_MS = 86_400_000
EXPIRY_INTERVAL_S = 3600.0
MAX_UNUSED_ROOMS = 1000
"""Rooms that wait for their first part, and as many others without sessions; each takes 0.3 KB. More: strangers fill
the disk. Fewer: they keep others from making links sooner."""
WAITING_DAYS = 30
"""Days for which a room waits for its first part: an invitation goes out some weeks before an event. Later it makes
place for others. Longer: links that nobody uses keep others from making some. Shorter: more invitations are dead."""
CHORE_TIMEOUT_S = 30.0
"""Time-out in s of a deletion. A session of an hour among a thousand sessions takes less than 1 s."""

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """State of the store.

    Attributes:
        working: whether the last attempt to write succeeded.
        waiting: entries (finals, begins and ends of sessions) that are not written yet.
        failures: failed attempts to write since the start.
        lost: entries that will never be written.
        behind: whether captions are sent now before they are stored.
        early: entries whose captions were sent before they were stored.
    """

    working: bool
    waiting: int
    failures: int
    lost: int
    behind: bool
    early: int


@dataclass(frozen=True, slots=True)
class _Held:
    """A callback that waits until the statement with that number is written."""

    number: int
    due_s: float
    written: Callable[[], None]


class TranscriptStore:
    """The store of the running event loop, between `open` and `close`.

    Args:
        max_hold_s: how long an event waits for its statements to be written.
        retry_s: the time from a failure to write to the next try.
    """

    def __init__(self, config: StoreConfig, *, max_hold_s: float = MAX_HOLD_S, retry_s: float = RETRY_S) -> None:
        self._max_hold_s = max_hold_s
        self._retry_s = retry_s
        self._path = Path(config.path)
        self._keep_days = config.keep_days
        self._held: deque[_Held] = deque()
        self._n_submitted = 0
        self._behind = False
        self._n_early = 0
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Take the store for this process, and start the writer.

        Raises:
            StoreUnusable: the store cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[int] = self._loop.create_future()
        self._reading = ThreadPoolExecutor(1, "store-reader")
        self._reader: Database | None = None
        try:
            self._path = self._path.expanduser()
        except RuntimeError:
            advice = f"{NO_HOME}, or --store to a file or none"
            raise StoreUnusable(f"cannot keep transcripts in {self._path}: {advice}") from None
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
        """Write the waiting entries, for at most a second."""
        self._expiry.cancel()
        self._writer.close()
        done, _ = await asyncio.wait({self._closed}, timeout=CLOSE_TIMEOUT_S)
        n_unwritten = self._closed.result() if done else self._writer.n_waiting
        if n_unwritten:
            logger.error("%d transcript entries could not be stored before the end", n_unwritten)
        self._go_on()
        await asyncio.wait({self._loop.run_in_executor(self._reading, self._close_reader)}, timeout=CLOSE_TIMEOUT_S)
        self._reading.shutdown(wait=False, cancel_futures=True)
        if done:  # otherwise the thread still writes
            self._lock.close()

    @property
    def figures(self) -> StoreFigures:
        writer = self._writer
        return StoreFigures(
            not writer.failing, writer.n_waiting, writer.n_failures, writer.n_lost, self._behind, self._n_early
        )

    # Writing

    # `written` is called, in the order of these calls, once the data is written or nobody must wait for it any more.
    # That may be before they return.

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        self._submit(rows.begin(session), written)

    def append(
        self,
        session_id: SessionId,
        final: Final,
        seq: int,
        checkpoint_ms: int | None,
        written: Callable[[], None],
        *,
        shift_ms: int = 0,
        checkpoint_shift_ms: int = 0,
    ) -> None:
        """Append a final.

        Args:
            session_id: the session.
            final: its next final.
            seq: number of the final's event.
            checkpoint_ms: the checkpoint with this final, see `checkpoint`; None: it is not known.
            written: called once the final is written.
            shift_ms: time without audio before the final.
            checkpoint_shift_ms: time without audio before the checkpoint.
        """
        checkpoint = [] if checkpoint_ms is None else [rows.checkpoint(session_id, checkpoint_ms, checkpoint_shift_ms)]
        self._submit([rows.append(session_id, final, seq, shift_ms), *checkpoint], written)

    def translate(self, session_id: SessionId, translation: Translation, seq: int, written: Callable[[], None]) -> None:
        """Append the translation of a final. `seq` is the number of its event."""
        self._submit([rows.translate(session_id, translation, seq)], written)

    def name_speaker(self, session_id: SessionId, named: SpeakerNamed, written: Callable[[], None]) -> None:
        """Write the name of a speaker, which replaces an older one."""
        self._submit([rows.name_speaker(session_id, named)], written)

    def checkpoint(self, session_id: SessionId, checkpoint_ms: int, shift_ms: int = 0) -> None:
        """Note that audio before this point is transcribed or silent, so that a restarted server does not need it.

        `shift_ms` is the time without audio before it: see `pipeline.arrival`.
        """
        self._submit([rows.checkpoint(session_id, checkpoint_ms, shift_ms)], _ignore)

    def reopen(self, session_id: SessionId) -> None:
        """Note that the publisher has resumed an interrupted session."""
        self._submit(rows.reopen(session_id), _ignore)

    def give_up(self, session_id: SessionId) -> None:
        """Note that an interrupted session cannot go on any more."""
        self._submit(rows.end(session_id, 0), _ignore)

    def end(self, session_id: SessionId, duration_ms: int, written: Callable[[], None]) -> None:
        self._submit(rows.end(session_id, duration_ms), written)

    def put_room(self, room: RoomRecord, written: Callable[[], None]) -> None:
        """Write a new room, or what has changed of a known one."""
        self._submit(rows.put_room(room, MAX_UNUSED_ROOMS, oldest_waiting_ms()), written)

    async def written(self, write: Callable[[Callable[[], None]], None]) -> None:
        """Call one of the above with its last argument, and wait until that is called."""
        done: asyncio.Future[None] = self._loop.create_future()
        write(partial(_set_done, done))
        await done

    async def delete(self, session_id: str) -> bool:
        """Delete a session, its words in the index and its traces in the file. Return whether there was one.

        Raises:
            StoreFailed: the session or traces of it are still there.
        """
        return await self._do(lambda database: database.delete(session_id))

    async def rename(self, session_id: str, title: str | None, names: Mapping[int, str]) -> bool:
        """Change the title of a session and its words in the index, and names of speakers. Return whether there is one.

        Raises:
            StoreFailed: all is as it was, or traces of that are still there.
        """
        return await self._do(lambda database: database.rename(session_id, title, names))

    def _submit(self, statements: list[Statement], written: Callable[[], None]) -> None:
        submitted = self._writer.submit(*statements)
        self._n_submitted += len(statements) if submitted else 0
        if not submitted or self._behind:
            self._n_early += written is not _ignore
            written()
            return
        self._held.append(_Held(self._n_submitted, self._loop.time() + self._max_hold_s, written))
        if self._timer is None:
            self._timer = self._loop.call_later(self._max_hold_s, self._check_due)

    def _on_written(self, n_written: int) -> None:
        while self._held and self._held[0].number <= n_written:
            self._held.popleft().written()
        if self._behind and n_written == self._n_submitted:
            self._behind = False
            logger.warning("the store has caught up: captions are stored before they are sent again")

    def _check_due(self) -> None:
        self._timer = None
        if not self._held:
            return
        wait_s = self._held[0].due_s - self._loop.time()
        if wait_s > 0:
            self._timer = self._loop.call_later(wait_s, self._check_due)
        else:
            logger.warning(
                "the store needs more than %.1f s: captions are sent before they are stored", self._max_hold_s
            )
            self._behind = True
            self._go_on()

    def _go_on(self) -> None:
        while self._held:
            held = self._held.popleft()
            self._n_early += held.written is not _ignore
            held.written()

    async def _do(self, chore: Chore) -> bool:
        answered: asyncio.Future[bool | sqlite3.Error] = self._loop.create_future()
        self._writer.do(chore, partial(self._call, _answer, answered))
        try:
            async with asyncio.timeout(CHORE_TIMEOUT_S):
                result = await answered
        except TimeoutError:
            raise StoreFailed("changing the transcripts takes too long; it may still be done") from None
        if isinstance(result, sqlite3.Error):
            raise StoreFailed(f"the transcripts cannot be changed now: {result}")
        return result

    async def _expire(self) -> None:
        """Delete old sessions, now and every hour. First remove the traces of a deletion that was interrupted."""
        with suppress(StoreFailed):  # the next start tries again
            await self._do(Database.purge)
        while self._keep_days:
            oldest_ms = round(time.time() * 1000 - self._keep_days * DAY_MS)
            with suppress(StoreFailed):  # the next hour tries again
                await self._do(partial(Database.expire, before_ms=oldest_ms))
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call back in the loop's thread, from the writer's."""
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(callback, *arguments)

    # Reading

    async def read(self, question: Callable[[Database], Answer]) -> Answer:
        """Query the database, in the only thread that reads. So a query may take long.

        Raises:
            StoreFailed: the database cannot be read.
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


def oldest_waiting_ms() -> int:
    """Return the time of the Unix clock since which the rooms were made that still wait for their first part."""
    return round(time.time() * 1000) - WAITING_DAYS * DAY_MS


def _set_done(done: "asyncio.Future[None]") -> None:
    if not done.done():  # the caller may have given up
        done.set_result(None)


def _ignore() -> None:
    """Do nothing when an entry is written, because nobody waits for it."""


def _answer(answered: "asyncio.Future[bool | sqlite3.Error]", result: bool | sqlite3.Error) -> None:
    if not answered.done():  # the caller may have given up
        answered.set_result(result)
