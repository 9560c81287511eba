"""The store in a database of PostgreSQL, for the event loop. Nothing here waits for the network but its callers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any
from uuid import UUID

from livecaption.errors import StoreAway, StoreFailed, StoreUnusable, Unavailable
from livecaption.events import Final, SpeakerNamed, Translation
from livecaption.recognition import SessionId
from livecaption.store.config import StoreConfig
from livecaption.store.held import MAX_HOLD_S, Held, ignore
from livecaption.store.postgresql import connecting, ownership, questions, rooms, statements
from livecaption.store.postgresql.broadcast import NotifyBroadcast
from livecaption.store.postgresql.connecting import FAILURES, may_pass, reason
from livecaption.store.postgresql.presence import Presence
from livecaption.store.postgresql.readable import Answer, Readable
from livecaption.store.postgresql.statements import Entry, storable
from livecaption.store.postgresql.writer import Writer
from livecaption.store.room_claims import Outcome
from livecaption.store.rows import InterruptedSession, NewSession, RoomRecord
from livecaption.store.store import (
    CHORE_TIMEOUT_S,
    DAY_MS,
    EXPIRY_INTERVAL_S,
    MAX_UNUSED_ROOMS,
    RETRY_S,
    TAKEN_RETRY_AFTER_S,
    RoomWish,
    StoreFigures,
    now_ms,
    oldest_waiting_ms,
)

MAX_READING = 4
"""Connections that read at a time. More: each server takes more of the database's. Fewer: questions wait for others."""
WATCH_INTERVAL_S = 5.0
"""Time in s between two looks for servers that have died. Longer: their sessions seem open for longer. Shorter: a
server whose connection was broken loses its sessions sooner."""
NOT_OURS = -1
"""A generation that no session has."""
MAX_LOST = 10_000
"""Sessions that are known to be lost, also after their ends: readers come for some time. Fewer: where many are lost,
their captions disappear too soon."""
EXPIRED_AT_ONCE = 20
"""Sessions that are deleted in one transaction. More: finals wait longer for it. Fewer: an expiry takes longer."""

logger = logging.getLogger(__name__)


class PostgresqlStore(Readable):
    """A store in a database of PostgreSQL, which servers may share; see `store.Store`.

    Args:
        max_hold_s: how long an event waits for its entries to be written.
        retry_s: the time from a failure to write to the next try.
    """

    def __init__(self, config: StoreConfig, *, max_hold_s: float = MAX_HOLD_S, retry_s: float = RETRY_S) -> None:
        super().__init__()
        self._url = config.path
        self._place = config.place
        self._keep_days = config.keep_days
        self.broadcast = NotifyBroadcast(config.path)
        self._max_hold_s = max_hold_s
        self._retry_s = retry_s
        self._generations: dict[str, int] = {}  # of the sessions that this server has
        self._waiting: set[str] = set()  # those of them whose publishers have not resumed here yet
        self._askers: dict[str, UUID] = {}  # the servers that want to have some of them
        self._lost: dict[str, None] = {}  # sessions whose beginnings never will be written, the newest last
        self._on_asked: Callable[[SessionId], None] = lambda _: None
        self._on_lost: Callable[[SessionId, bool], None] = lambda *_: None
        self._on_cut_off: Callable[[bool], None] = lambda _: None
        self._on_room_asked: Callable[[RoomWish], bool] = lambda _: True
        self._on_room_changed: Callable[[str], None] = lambda _: None

    async def open(self) -> None:
        self._held = Held(self._max_hold_s)
        self._writer = Writer(self._connect, self._note_written, self._note_lost, retry_s=self._retry_s)
        self._presence = Presence(
            self._url,
            asked=self._note_asked,
            asked_for_room=self._note_room_asked,
            room_changed=lambda name: self._on_room_changed(name),
            back=self._compare,
            cut_off=self._note_cut_off,
        )
        try:
            async with AsyncExitStack() as opened:
                connection = await self._connect()
                opened.callback(connection.terminate)
                async with connection.transaction():
                    await ownership.migrate(connection)
                await self._presence.start()
                opened.push_async_callback(self._presence.close)
                async with connection.transaction():
                    await ownership.interrupt(connection, await ownership.dead_servers(connection))
                    self._generations = await ownership.adopt(connection, self._presence.id)
                    self._waiting = set(self._generations)
                opened.pop_all()
        except (*FAILURES, StoreFailed) as error:
            refused = StoreUnusable if isinstance(error, StoreFailed) or not may_pass(error) else StoreAway
            raise refused(f"cannot keep transcripts in {self._place}: {reason(error)} (--store)") from None
        self._pool = await connecting.pool(self._url, MAX_READING)
        self._writer.start(connection)
        self.broadcast.start()
        self._tasks = {asyncio.create_task(self._expire()), asyncio.create_task(self._watch_servers())}

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if n_unwritten := await self._writer.close():
            logger.error("%d transcript entries could not be stored before the end", n_unwritten)
        self._held.go_on()
        self._pool.terminate()
        await self.broadcast.close()
        await self._presence.close()

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        return [*self._tasks, self._writer.task, self._presence.task, self.broadcast.task]

    @property
    def figures(self) -> StoreFigures:
        writer, held = self._writer, self._held
        return StoreFigures(
            not writer.failing,
            writer.n_waiting,
            writer.n_failures,
            writer.n_lost,
            held.behind,
            held.n_early,
            self._presence.is_cut_off,
        )

    # Writing

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        self._generations[session.id] = 0
        if not self._submit(statements.begin(session, self._presence.id), written):
            self._lost[session.id] = None
            if len(self._lost) > MAX_LOST:
                del self._lost[next(iter(self._lost))]

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
        entries = statements.append(
            session_id, self._generation(session_id), final, seq, shift_ms, checkpoint_ms, checkpoint_shift_ms
        )
        self._submit(entries, written)

    def translate(self, session_id: SessionId, translation: Translation, seq: int, written: Callable[[], None]) -> None:
        self._submit(statements.translate(session_id, self._generation(session_id), translation, seq), written)

    def name_speaker(self, session_id: SessionId, named: SpeakerNamed, written: Callable[[], None]) -> None:
        self._submit(statements.name_speaker(session_id, self._generation(session_id), named), written)

    def checkpoint(self, session_id: SessionId, checkpoint_ms: int, shift_ms: int = 0) -> None:
        self._submit(statements.checkpoint(session_id, self._generation(session_id), checkpoint_ms, shift_ms), ignore)

    def reopen(self, session_id: SessionId) -> None:
        self._waiting.discard(session_id)
        self._submit(statements.reopen(session_id, self._generation(session_id)), ignore)

    def give_up(self, session_id: SessionId) -> None:
        self.end(session_id, 0, ignore)

    def end(self, session_id: SessionId, duration_ms: int, written: Callable[[], None]) -> None:
        was_open = session_id not in self._waiting
        generation = self._forget(session_id)
        self._submit(statements.end(session_id, generation, duration_ms, self._presence.id, was_open=was_open), written)

    def release(self, session_id: SessionId) -> None:
        asker = self._askers.pop(session_id, None)
        self._submit(statements.release(session_id, self._forget(session_id), asker, self._presence.id), ignore)

    def put_room(self, room: RoomRecord, written: Callable[[], None]) -> None:
        self._submit(statements.put_room(room, MAX_UNUSED_ROOMS, oldest_waiting_ms(), self._presence.id), written)

    async def delete(self, session_id: str) -> bool:
        return await self._do(partial(questions.delete, session_id=storable(session_id)))

    async def rename(self, session_id: str, title: str | None, names: Mapping[int, str]) -> bool:
        return await self._do(partial(questions.rename, session_id=storable(session_id), title=title, names=names))

    def _submit(self, entries: list[Entry], written: Callable[[], None]) -> bool:
        """Queue entries. Return False if they are lost."""
        is_queued = self._writer.submit(entries)
        if is_queued:
            self._held.add(len(entries), written)
        else:
            self._held.let_go(written)
        return is_queued

    def _note_written(self, n_written: int) -> None:
        self._presence.note_reached()
        self._held.note_written(n_written)

    def _generation(self, session_id: str) -> int:
        """Return the generation in which this server has a session."""
        return self._generations.get(session_id, NOT_OURS)

    def _forget(self, session_id: str) -> int:
        """Note that this server does not have a session any more. Return the generation in which it had it."""
        self._waiting.discard(session_id)
        return self._generations.pop(session_id, NOT_OURS)

    async def _do(self, chore: Callable[[Any], Awaitable[Answer]]) -> Answer:
        self._check_reach()
        try:
            async with self._in_time(CHORE_TIMEOUT_S):
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
        """Return a connection that writes."""
        connection = await connecting.connect(self._url)
        try:
            await ownership.prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    # Sessions of other servers

    is_shared = True
    has_takeovers = True

    def share(
        self,
        asked: Callable[[SessionId], None],
        lost: Callable[[SessionId, bool], None],
        cut_off: Callable[[bool], None],
    ) -> None:
        self._on_asked, self._on_lost, self._on_cut_off = asked, lost, cut_off

    def has_lost(self, session_id: str) -> bool:
        return session_id in self._lost

    async def take(self, session_id: SessionId) -> InterruptedSession | None:
        found = await self._read(partial(ownership.owner_of, session_id=session_id))
        if found is None:
            return None
        owner, generation = found
        if owner not in (None, self._presence.id):
            await self._presence.ask_for(session_id, owner, self._read)

        take = partial(
            ownership.take, session_id=session_id, server=self._presence.id, owner=owner, generation=generation
        )
        try:
            is_taken = await self._do(take)
            if is_taken:
                self._generations[session_id] = generation + 1
                self._waiting.add(session_id)
            taken = await self.interrupted(session_id) if is_taken else None
        except BaseException:
            # It would stay with a server that does not use it. If it is taken at this moment, this comes after that.
            self._generations[session_id] = generation + 1
            self.release(session_id)
            raise
        if taken is None:
            raise Unavailable("another server has just taken this session over", retry_after_s=TAKEN_RETRY_AFTER_S)
        return taken

    async def interruptions(self) -> list[tuple[SessionId, int]]:
        return await self._read(partial(questions.interruptions, ids=list(self._generations), now_ms=now_ms()))

    def share_rooms(self, asked: Callable[[RoomWish], bool], changed: Callable[[str], None]) -> None:
        self._on_room_asked, self._on_room_changed = asked, changed

    async def take_room(self, room: RoomRecord, wish: RoomWish) -> RoomRecord | None:
        return await rooms.take(room, wish, self._presence, self._do, self._read)

    def _note_room_asked(self, wish: RoomWish, by: UUID) -> None:
        outcome = Outcome.RELEASED if self._on_room_asked(wish) else Outcome.REFUSED
        self._submit(statements.answer_room(wish.room, self._presence.id, by, outcome), ignore)

    def _note_asked(self, session_id: str, by: UUID) -> None:
        self._askers[session_id] = by
        self._on_asked(SessionId(session_id))

    def _note_lost(self, session_id: str, generation: int, with_publisher: bool) -> None:
        if self._generations.get(session_id) == generation:  # else it was given up, or is here again
            self._forget(session_id)
            # Not at once: a fault in a session must not end the task that has found this out.
            asyncio.get_running_loop().call_soon(self._on_lost, SessionId(session_id), with_publisher)

    def _note_cut_off(self, is_now: bool) -> None:
        if is_now:
            self._wait_no_longer()
        self._on_cut_off(is_now)

    async def _compare(self, connection: Any) -> None:
        """Find out which sessions of this server have moved on, and have those again that nobody has.

        Others may have taken this server for dead while it did not reach the database.
        """
        await ownership.reclaim(connection, self._presence.id, self._generations, self._waiting)
        for moved in await ownership.moved_on(connection, self._generations):
            self._note_lost(*moved)

    async def _watch_servers(self) -> None:
        """Note sessions of servers that have died. One that was seen dead twice is: its connection may only be new.

        Compare also the sessions of this server. It may have missed the question for one, and one in which nobody
        speaks writes nothing.
        """
        suspected: set[UUID] = set()
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                await self._read(self._compare)
                dead = await self._read(ownership.dead_servers)
                if gone := (dead & suspected) - {self._presence.id}:
                    await self._do(partial(ownership.interrupt, servers=gone))
                suspected = dead
            except StoreFailed:
                suspected = set()  # the database was away, and others have to show again that they run
