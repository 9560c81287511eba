"""The store in a database of PostgreSQL, for the event loop. Nothing here waits for the network but its callers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from livecaption.errors import LivecaptionError, StoreFailed, StoreUnusable
from livecaption.events import Final, Translation
from livecaption.recognition import SessionId
from livecaption.store.config import StoreConfig
from livecaption.store.held import MAX_HOLD_S, Held, ignore
from livecaption.store.postgresql import connecting, ownership, questions, statements
from livecaption.store.postgresql.connecting import FAILURES, reason
from livecaption.store.postgresql.statements import Entry
from livecaption.store.postgresql.writer import Writer
from livecaption.store.rows import InterruptedSession, NewSession, RoomRecord, SessionRecord
from livecaption.store.search import Excerpt
from livecaption.store.store import (
    CHORE_TIMEOUT_S,
    DAY_MS,
    EXPIRY_INTERVAL_S,
    MAX_UNUSED_ROOMS,
    RETRY_S,
    StoreFigures,
    oldest_waiting_ms,
)

MAX_READING = 4
"""Connections that read at a time. More: each server takes more of the database's. Fewer: questions wait for others."""
READ_TIMEOUT_S = 10.0
"""Time-out in s of a question. Longer: callers wait longer for a database that is away. Shorter: searches in large
databases fail."""
EXPIRED_AT_ONCE = 20
"""Sessions that are deleted in one transaction. More: finals wait longer for it. Fewer: an expiry takes longer."""

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


class PostgresqlStore:
    """A store in a database of PostgreSQL, which one server has for itself; see `store.Store`.

    Args:
        max_hold_s: how long an event waits for its entries to be written.
        retry_s: the time from a failure to write to the next try.
    """

    def __init__(self, config: StoreConfig, *, max_hold_s: float = MAX_HOLD_S, retry_s: float = RETRY_S) -> None:
        self._url = config.path
        self._place = config.place
        self._keep_days = config.keep_days
        self._max_hold_s = max_hold_s
        self._retry_s = retry_s

    async def open(self) -> None:
        self._held = Held(self._max_hold_s)
        self._writer = Writer(self._connect, self._held.note_written, retry_s=self._retry_s)
        try:
            connection = await self._connect()
            try:
                await ownership.take(connection)
            except BaseException:
                connection.terminate()
                raise
        except (*FAILURES, StoreFailed) as error:
            why = error.message if isinstance(error, StoreFailed) else reason(error)
            raise StoreUnusable(f"cannot keep transcripts in {self._place}: {why} (--store)") from None
        self._pool = await connecting.pool(self._url, MAX_READING)
        self._writer.start(connection)
        self._expiry = asyncio.create_task(self._expire())

    async def close(self) -> None:
        self._expiry.cancel()
        if n_unwritten := await self._writer.close():
            logger.error("%d transcript entries could not be stored before the end", n_unwritten)
        self._held.go_on()
        self._pool.terminate()

    @property
    def figures(self) -> StoreFigures:
        writer, held = self._writer, self._held
        return StoreFigures(
            not writer.failing, writer.n_waiting, writer.n_failures, writer.n_lost, held.behind, held.n_early
        )

    # Writing

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        self._submit(statements.begin(session), written)

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
        entries = statements.append(session_id, final, seq, shift_ms, checkpoint_ms, checkpoint_shift_ms)
        self._submit(entries, written)

    def translate(self, session_id: SessionId, translation: Translation, seq: int, written: Callable[[], None]) -> None:
        self._submit(statements.translate(session_id, translation, seq), written)

    def checkpoint(self, session_id: SessionId, checkpoint_ms: int, shift_ms: int = 0) -> None:
        self._submit(statements.checkpoint(session_id, checkpoint_ms, shift_ms), ignore)

    def reopen(self, session_id: SessionId) -> None:
        self._submit(statements.reopen(session_id), ignore)

    def give_up(self, session_id: SessionId) -> None:
        self._submit(statements.end(session_id, 0), ignore)

    def end(self, session_id: SessionId, duration_ms: int, written: Callable[[], None]) -> None:
        self._submit(statements.end(session_id, duration_ms), written)

    def put_room(self, room: RoomRecord, written: Callable[[], None]) -> None:
        self._submit(statements.put_room(room, MAX_UNUSED_ROOMS, oldest_waiting_ms()), written)

    async def delete(self, session_id: str) -> bool:
        return await self._do(partial(questions.delete, session_id=session_id))

    async def rename(self, session_id: str, title: str) -> bool:
        return await self._do(partial(questions.rename, session_id=session_id, title=title))

    def _submit(self, entries: list[Entry], written: Callable[[], None]) -> None:
        if self._writer.submit(entries):
            self._held.add(len(entries), written)
        else:
            self._held.let_go(written)

    async def _do(self, chore: Callable[[Any], Awaitable[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(CHORE_TIMEOUT_S):
                return await self._writer.do(chore)
        except TimeoutError:
            raise StoreFailed("changing the transcripts takes too long; it may still be done") from None

    async def _expire(self) -> None:
        """Delete old sessions, now and every hour."""
        while self._keep_days:
            oldest_ms = round(time.time() * 1000 - self._keep_days * DAY_MS)
            with suppress(StoreFailed):  # the next hour tries again
                while await self._do(partial(questions.expire, before_ms=oldest_ms, limit=EXPIRED_AT_ONCE)):
                    pass
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    async def _connect(self) -> Any:
        """Return a connection that has the database for this server."""
        connection = await connecting.connect(self._url)
        try:
            await ownership.lock(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    # Reading

    async def session(self, session_id: str) -> SessionRecord | None:
        return await self._read(partial(questions.session, session_id=session_id))

    async def sessions(
        self,
        limit: int,
        before: tuple[int, int] | None = None,
        terms: Sequence[str] = (),
        *,
        with_private: bool = True,
    ) -> list[SessionRecord]:
        return await self._read(
            partial(questions.sessions, limit=limit, before=before, terms=terms, with_private=with_private)
        )

    async def excerpts(self, sessions: Sequence[SessionRecord], terms: Sequence[str]) -> list[list[Excerpt]]:
        return await self._read(partial(questions.excerpts, sessions=sessions, terms=terms))

    async def finals(self, session_id: str) -> Iterable[Final]:
        return await self._read(partial(questions.finals, session_id=session_id))

    async def tracks(self, session_id: str) -> list[str]:
        return await self._read(partial(questions.tracks, session_id=session_id))

    async def interrupted(self) -> list[InterruptedSession]:
        return await self._read(questions.interrupted)

    async def room(self, name: str) -> RoomRecord | None:
        return await self._read(partial(questions.room, name=name))

    async def parts(self, room: RoomRecord) -> list[SessionRecord]:
        return await self._read(partial(questions.parts, room=room))

    async def n_waiting_rooms(self, oldest_ms: int) -> int:
        return await self._read(partial(questions.n_waiting_rooms, oldest_ms=oldest_ms))

    async def _read(self, question: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """Ask on one of the connections that read.

        Raises:
            StoreFailed: the database cannot be read now.
        """
        try:
            async with self._pool.acquire(timeout=READ_TIMEOUT_S) as connection:
                try:
                    async with asyncio.timeout(READ_TIMEOUT_S):
                        return await question(connection)
                except TimeoutError:
                    connection.terminate()  # otherwise the pool would wait for its answer
                    raise
        except (*FAILURES, LivecaptionError) as error:
            why = error.message if isinstance(error, LivecaptionError) else reason(error)
            raise StoreFailed(f"the transcripts cannot be read now: {why}") from None
