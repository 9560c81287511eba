"""The store in one SQLite file, for the event loop. Nothing here blocks on the disk.

    begin, append, end   return at once, and report when it is written
    delete, questions    are answered from a thread

Data that is reported as written was synced to the disk.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from livecaption.errors import StoreFailed
from livecaption.events import Final, SpeakerNamed, Translation
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.broadcast import Broadcast
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database
from livecaption.store.held import MAX_HOLD_S, Held, ignore
from livecaption.store.ownership import acquire, located
from livecaption.store.rows import (
    InterruptedSession,
    NewSession,
    Numbered,
    Resumption,
    RoomRecord,
    RunningSession,
    SessionRecord,
    Statement,
)
from livecaption.store.search import Excerpt
from livecaption.store.store import (
    CHORE_TIMEOUT_S,
    CLOSE_TIMEOUT_S,
    DAY_MS,
    EXPIRY_INTERVAL_S,
    MAX_UNUSED_ROOMS,
    RETRY_S,
    RoomWish,
    StoreFigures,
    oldest_waiting_ms,
)
from livecaption.store.writer import Chore, Writer

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


class TranscriptStore:
    """A store in one SQLite file, which one process has for itself; see `store.Store`.

    Args:
        max_hold_s: how long an event waits for its statements to be written.
        retry_s: the time from a failure to write to the next try.
    """

    def __init__(self, config: StoreConfig, *, max_hold_s: float = MAX_HOLD_S, retry_s: float = RETRY_S) -> None:
        self._max_hold_s = max_hold_s
        self._retry_s = retry_s
        self._config = config

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held = Held(self._max_hold_s)
        self._closed: asyncio.Future[int] = self._loop.create_future()
        self._reading = ThreadPoolExecutor(1, "store-reader")
        self._reader: Database | None = None
        self._path = located(self._config.path)
        await asyncio.to_thread(self._take)
        self._writer = Writer(
            self._open_to_write,
            written=partial(self._call, self._held.note_written),
            closed=partial(self._call, self._closed.set_result),
            retry_s=self._retry_s,
        )
        self._writer.start()
        self._expiry = asyncio.create_task(self._expire())

    async def close(self) -> None:
        self._expiry.cancel()
        self._writer.close()
        done, _ = await asyncio.wait({self._closed}, timeout=CLOSE_TIMEOUT_S)
        n_unwritten = self._closed.result() if done else self._writer.n_waiting
        if n_unwritten:
            logger.error("%d transcript entries could not be stored before the end", n_unwritten)
        self._held.go_on()
        await asyncio.wait({self._loop.run_in_executor(self._reading, self._close_reader)}, timeout=CLOSE_TIMEOUT_S)
        self._reading.shutdown(wait=False, cancel_futures=True)
        if done:  # otherwise the thread still writes
            self._leave()

    def _take(self) -> None:
        """Take the file for this process.

        Raises:
            StoreUnusable: another server has it, or it cannot be used.
        """
        self._lock = acquire(self._path)

    def _leave(self) -> None:
        self._lock.close()

    def _open_to_write(self) -> Database:
        return Database(self._path)

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        return [self._expiry]

    @property
    def figures(self) -> StoreFigures:
        writer = self._writer
        return StoreFigures(
            not writer.failing,
            writer.n_waiting,
            writer.n_failures,
            writer.n_lost,
            self._held.behind,
            self._held.n_early,
            cut_off=False,
        )

    # Writing

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        self._submit(rows.begin(session), written, session.id)

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
        checkpoint = [] if checkpoint_ms is None else [rows.checkpoint(session_id, checkpoint_ms, checkpoint_shift_ms)]
        self._submit([rows.append(session_id, final, seq, shift_ms), *checkpoint], written, session_id)

    def translate(self, session_id: SessionId, translation: Translation, seq: int, written: Callable[[], None]) -> None:
        self._submit([rows.translate(session_id, translation, seq)], written, session_id)

    def name_speaker(self, session_id: SessionId, named: SpeakerNamed, written: Callable[[], None]) -> None:
        self._submit([rows.name_speaker(session_id, named)], written, session_id)

    def checkpoint(self, session_id: SessionId, checkpoint_ms: int, shift_ms: int = 0) -> None:
        self._submit([rows.checkpoint(session_id, checkpoint_ms, shift_ms)], ignore, session_id)

    def reopen(self, session_id: SessionId) -> None:
        self._submit(rows.reopen(session_id), ignore, session_id)

    def give_up(self, session_id: SessionId) -> None:
        self._submit(rows.end(session_id, 0), ignore, session_id)

    def end(self, session_id: SessionId, duration_ms: int, written: Callable[[], None]) -> None:
        self._submit(rows.end(session_id, duration_ms), written, session_id)

    def put_room(self, room: RoomRecord, written: Callable[[], None]) -> None:
        self._submit(rows.put_room(room, MAX_UNUSED_ROOMS, oldest_waiting_ms()), written)

    async def delete(self, session_id: str) -> bool:
        return await self._do(lambda database: database.delete(session_id))

    async def rename(self, session_id: str, title: str | None, names: Mapping[int, str]) -> bool:
        return await self._do(lambda database: database.rename(session_id, title, names))

    def _submit(
        self, statements: list[Statement], written: Callable[[], None], session_id: SessionId | None = None
    ) -> None:
        """Queue statements, which are about this session."""
        if self._writer.submit(*statements):
            self._held.add(len(statements), written)
        else:
            self._held.let_go(written)

    # One server has the file, so there are no others that could want its sessions and rooms, or have some.

    is_shared = False
    has_takeovers = False

    def share(
        self,
        asked: Callable[[SessionId], None],
        lost: Callable[[SessionId, bool], None],
        cut_off: Callable[[bool], None],
    ) -> None:
        pass

    async def take(self, session_id: SessionId) -> InterruptedSession | None:
        return None

    broadcast: Broadcast | None = None

    def has_lost(self, session_id: str) -> bool:
        return False  # nobody asks where there is no broadcast

    async def running(self, session_id: str) -> RunningSession | None:
        return None

    async def events(self, session: SessionRecord) -> Iterable[Numbered]:
        return ()

    def release(self, session_id: SessionId) -> None:
        pass

    async def resumption(self, session_id: str) -> Resumption | None:
        return None

    def share_rooms(self, asked: Callable[[RoomWish], bool], changed: Callable[[str], None]) -> None:
        pass

    async def take_room(self, room: RoomRecord, wish: RoomWish) -> RoomRecord | None:
        return None

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
        """Delete old sessions, and the traces of deletions that were cut short, now and every hour."""
        keep_days = self._config.keep_days
        while True:
            oldest_ms = round(time.time() * 1000 - keep_days * DAY_MS)
            with suppress(StoreFailed):  # the next hour tries again
                await self._do(partial(Database.expire, before_ms=oldest_ms) if keep_days else Database.purge)
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call back in the loop's thread, from the writer's."""
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(callback, *arguments)

    # Reading

    async def session(self, session_id: str) -> SessionRecord | None:
        return await self._read(lambda database: database.session(session_id))

    async def sessions(
        self,
        limit: int,
        before: tuple[int, int] | None = None,
        terms: Sequence[str] = (),
        *,
        with_private: bool = True,
    ) -> list[SessionRecord]:
        return await self._read(lambda database: database.sessions(limit, before, terms, with_private=with_private))

    async def excerpts(self, sessions: Sequence[SessionRecord], terms: Sequence[str]) -> list[list[Excerpt]]:
        return await self._read(lambda database: [database.excerpts(session, terms) for session in sessions])

    async def finals(self, session_id: str) -> Iterable[Final]:
        return await self._read(lambda database: _finals(database, session_id))

    async def tracks(self, session_id: str) -> list[str]:
        return await self._read(lambda database: _tracks(database, session_id))

    async def interruptions(self) -> list[tuple[SessionId, int]]:
        return await self._read(Database.interruptions)

    async def interrupted(self, session_id: SessionId) -> InterruptedSession | None:
        return await self._read(lambda database: database.interrupted(session_id))

    async def room(self, name: str) -> RoomRecord | None:
        return await self._read(lambda database: database.room(name))

    async def parts(self, room: RoomRecord) -> list[SessionRecord]:
        return await self._read(lambda database: database.parts(room))

    async def n_waiting_rooms(self, oldest_ms: int) -> int:
        return await self._read(lambda database: database.n_waiting_rooms(oldest_ms))

    async def _read(self, question: Callable[[Database], Answer]) -> Answer:
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


def _finals(database: Database, session_id: str) -> Iterable[Final]:
    record = database.session(session_id)
    return () if record is None else database.finals(record)


def _tracks(database: Database, session_id: str) -> list[str]:
    record = database.session(session_id)
    return [] if record is None else database.tracks(record)


def _answer(answered: "asyncio.Future[bool | sqlite3.Error]", result: bool | sqlite3.Error) -> None:
    if not answered.done():  # the caller may have given up
        answered.set_result(result)
