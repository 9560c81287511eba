"""The questions to the transcripts in a database of PostgreSQL, on connections that only read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from livecaption.errors import LivecaptionError, StoreFailed
from livecaption.events import Final
from livecaption.recognition import SessionId
from livecaption.store.postgresql import questions
from livecaption.store.postgresql.connecting import FAILURES, reason
from livecaption.store.postgresql.presence import Presence
from livecaption.store.postgresql.statements import storable
from livecaption.store.rows import InterruptedSession, Numbered, Resumption, RoomRecord, RunningSession, SessionRecord
from livecaption.store.search import Excerpt
from livecaption.store.store import now_ms

READ_TIMEOUT_S = 10.0
"""Time-out in s of a question. Longer: callers wait longer for a database that is away. Shorter: searches in large
databases fail."""

Answer = TypeVar("Answer")


class Readable:
    """The part of a store that reads; see `store.Store`.

    Clients may send any text as an id. One that cannot be stored is of no session and no room.
    """

    _pool: Any
    _presence: Presence

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()  # of callers that wait for the database
        self._releasing: set[asyncio.Future[None]] = set()

    async def resumption(self, session_id: str) -> Resumption | None:
        return await self._read(partial(questions.resumption, session_id=storable(session_id)))

    async def interrupted(self, session_id: SessionId) -> InterruptedSession | None:
        found = await self._read(partial(questions.interrupted, session_id=session_id, now_ms=now_ms()))
        if found is None:
            return None
        session, events = found
        return session(await asyncio.to_thread(tuple, events))

    async def running(self, session_id: str) -> RunningSession | None:
        return await self._read(partial(questions.running, session_id=storable(session_id), now_ms=now_ms()))

    async def events(self, session: SessionRecord) -> Iterable[Numbered]:
        return await self._read(partial(questions.events, session=session))

    async def session(self, session_id: str) -> SessionRecord | None:
        return await self._read(partial(questions.session, session_id=storable(session_id)))

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
        return await self._read(partial(questions.finals, session_id=storable(session_id)))

    async def tracks(self, session_id: str) -> list[str]:
        return await self._read(partial(questions.tracks, session_id=storable(session_id)))

    async def room(self, name: str) -> RoomRecord | None:
        return await self._read(partial(questions.room, name=storable(name)))

    async def parts(self, room: RoomRecord) -> list[SessionRecord]:
        return await self._read(partial(questions.parts, room=room))

    async def n_waiting_rooms(self, oldest_ms: int) -> int:
        return await self._read(partial(questions.n_waiting_rooms, oldest_ms=oldest_ms))

    async def _read(self, question: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """Ask on one of the connections that read.

        Raises:
            StoreFailed: the database cannot be read now.
        """
        self._check_reach()
        try:
            async with self._in_time(READ_TIMEOUT_S):
                connection = await self._pool.acquire()
                try:
                    answer = await question(connection)
                except asyncio.CancelledError:
                    connection.terminate()  # otherwise the pool would wait for its answer
                    raise
                finally:
                    self._release(connection)
            self._presence.note_reached()
            return answer
        except (*FAILURES, LivecaptionError) as error:
            raise StoreFailed(f"the transcripts cannot be read now: {reason(error)}") from None

    def _release(self, connection: Any) -> None:
        """Give a connection back. The pool asks the database first to forget what was set, for which nobody waits."""
        releasing = asyncio.ensure_future(self._pool.release(connection, timeout=READ_TIMEOUT_S))
        self._releasing.add(releasing)
        releasing.add_done_callback(self._released)

    def _released(self, releasing: "asyncio.Future[None]") -> None:
        self._releasing.discard(releasing)
        if not releasing.cancelled():
            releasing.exception()  # the pool has given the connection up, so no question meets it

    @asynccontextmanager
    async def _in_time(self, timeout_s: float) -> AsyncIterator[None]:
        """Raise TimeoutError in this block after that time, and once this server is cut off from the database."""
        async with asyncio.timeout(timeout_s) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def _check_reach(self) -> None:
        """Refuse what would only wait, so that callers ask another server.

        Raises:
            StoreFailed: this server alone does not reach the database.
        """
        if self._presence.is_cut_off:
            raise StoreFailed("this server does not reach the database of the transcripts now")

    def _wait_no_longer(self) -> None:
        """Refuse those who wait for the database."""
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())
