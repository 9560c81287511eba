"""The store in one SQLite file that the processes of one server share. Their parent has the lock: see `keeper`.

Each session and each room has an owner, the process that has it. Before each transaction the owners of sessions are
compared, so what a process writes of a session that has moved on changes nothing, and the process lets it go.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from livecaption.errors import StoreUnusable, Unavailable
from livecaption.recognition import SessionId
from livecaption.store import owners, room_claims, rows
from livecaption.store.config import Sharing, StoreConfig
from livecaption.store.database import Database
from livecaption.store.held import MAX_HOLD_S, ignore
from livecaption.store.neighbours import Neighbours
from livecaption.store.room_claims import Holder, Outcome, parts_to_end
from livecaption.store.rows import InterruptedSession, NewSession, Resumption, RoomRecord, SessionState, Statement
from livecaption.store.store import RETRY_S, TAKEN_RETRY_AFTER_S, RoomWish, now_ms
from livecaption.store.transcripts import TranscriptStore

BUSY_TIMEOUT_S = 2.0
"""Wait in s for the transactions of the other processes. Longer: a stop could wait for it. Shorter: more failures to
write where the disk is slow."""
WATCH_INTERVAL_S = 5.0
"""Time in s between two looks whether this process still has its sessions. Longer: readers of one that has moved on
without a word wait for longer. Shorter: more looks."""
NOTHING: Statement = ("SELECT 1", ())


class _Entry(NamedTuple):
    """A statement about a session of this process."""

    sql: str
    values: tuple[Any, ...]
    session_id: SessionId


class _Database(Database):
    """The file, of which a process writes only what is about its own sessions.

    Args:
        owner: the process.
        lost: called before the transaction is over with a session that it does not have any more, and whether another
            process has it or has ended it.
    """

    def __init__(self, path: Path, owner: str, lost: Callable[[SessionId, bool], None]) -> None:
        super().__init__(path, busy_timeout_s=BUSY_TIMEOUT_S)
        self._owner = owner
        self._lost = lost

    def allowed(self, statements: Sequence[Any]) -> Sequence[Statement]:
        ids = {entry.session_id for entry in statements if isinstance(entry, _Entry)}
        found = {
            session_id: self.execute("SELECT owner, state FROM session WHERE id = ?", (session_id,)).fetchone()
            for session_id in ids
        }
        # One that is not there begins in this transaction, or was deleted.
        lost = {session_id for session_id, row in found.items() if row is not None and row[0] != self._owner}
        for session_id in lost:
            owner, state = found[session_id]
            self._lost(session_id, owner is not None or state == SessionState.ENDED.value)
        return [
            (entry.sql, entry.values) if isinstance(entry, _Entry) else entry
            for entry in statements
            if not (isinstance(entry, _Entry) and entry.session_id in lost)
        ]


class SharedTranscripts(TranscriptStore):
    """A store in one SQLite file, which the processes of one server share; see `store.Store`."""

    def __init__(
        self, config: StoreConfig, sharing: Sharing, *, max_hold_s: float = MAX_HOLD_S, retry_s: float = RETRY_S
    ) -> None:
        super().__init__(config, max_hold_s=max_hold_s, retry_s=retry_s)
        self._owner = sharing.owner
        self._expires = sharing.expires
        self._neighbours = Neighbours(Path(sharing.directory), sharing.owner, self._note_asked, self._note_room_asked)
        self._here: set[SessionId] = set()  # the sessions that this process has
        self._askers: dict[str, str] = {}  # the processes that want to have some of them
        self._on_asked: Callable[[SessionId], None] = lambda _: None
        self._on_lost: Callable[[SessionId, bool], None] = lambda *_: None
        self._on_room_asked: Callable[[RoomWish], bool] = lambda _: True

    async def open(self) -> None:
        await super().open()
        try:
            self._neighbours.open()  # not before: the answer to a question is written
        except OSError as error:
            await super().close()
            raise StoreUnusable(f"no socket for the other processes: {error.strerror}") from None
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        self._watching.cancel()
        await super().close()
        self._neighbours.close()

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        return [*super().tasks, self._watching]

    def _take(self) -> None:
        pass  # the parent has the file

    def _leave(self) -> None:
        pass

    def _open_to_write(self) -> Database:
        return _Database(self._path, self._owner, lambda *lost: self._call(self._note_lost, *lost))

    async def _expire(self) -> None:
        if self._expires:
            await super()._expire()

    # Writing

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        self._here.add(session.id)
        self._submit(rows.begin(session, self._owner), written, session.id)

    def give_up(self, session_id: SessionId) -> None:
        self._here.discard(session_id)
        super().give_up(session_id)

    def end(self, session_id: SessionId, duration_ms: int, written: Callable[[], None]) -> None:
        self._here.discard(session_id)
        super().end(session_id, duration_ms, written)

    def _submit(
        self, statements: list[Statement], written: Callable[[], None], session_id: SessionId | None = None
    ) -> None:
        if session_id is not None:
            statements = [_Entry(*statement, session_id) for statement in statements]  # type: ignore[misc]
        super()._submit(statements, written)

    # Sessions of other processes

    has_takeovers = True

    def share(
        self,
        asked: Callable[[SessionId], None],
        lost: Callable[[SessionId, bool], None],
        cut_off: Callable[[bool], None],
    ) -> None:
        self._on_asked, self._on_lost = asked, lost

    async def take(self, session_id: SessionId) -> InterruptedSession | None:
        former = await self._read(lambda database: database.owner(session_id))
        if former not in (None, self._owner):
            await self._neighbours.ask_for(session_id, former)

        is_wanted = True

        def take(database: Database) -> Iterator[bool]:
            with database.transaction():
                taking, noting = owners.take(session_id, self._owner, former, now_ms())
                is_taken = is_wanted and database.execute(*taking).rowcount > 0
                if is_taken:
                    database.execute(*noting)
            yield is_taken

        try:
            is_taken = await self._do(take)
            taken = await self.interrupted(session_id) if is_taken else None
        except BaseException:
            # It would stay with a process that does not use it. If it is taken at this moment, this comes after that.
            is_wanted = False
            self._submit(owners.release(session_id, self._owner, now_ms()), ignore)
            raise
        if taken is None:
            raise Unavailable("another process has just taken this session over", retry_after_s=TAKEN_RETRY_AFTER_S)
        self._here.add(session_id)
        return taken

    def release(self, session_id: SessionId) -> None:
        self._here.discard(session_id)
        asker = self._askers.pop(session_id, None)
        done = ignore if asker is None else partial(self._neighbours.note_released, session_id, asker)
        self._submit(owners.release(session_id, self._owner, now_ms()), done, session_id)

    async def resumption(self, session_id: str) -> Resumption | None:
        return await self._read(lambda database: database.resumption(session_id))

    async def interruptions(self) -> list[tuple[SessionId, int]]:
        found = await self._read(lambda database: database.interruptions(self._owner))
        self._here |= {session_id for session_id, _ in found}
        return found

    async def interrupted(self, session_id: SessionId) -> InterruptedSession | None:
        return await self._read(lambda database: database.interrupted(session_id, self._owner))

    async def _watch(self) -> None:
        """Find the sessions that another process has taken while it could not ask for them.

        A session that waits for its publisher writes nothing, and so would not find out. The other one may have come
        before this process listened, and have the row only now.
        """
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if not self.figures.waiting:  # else the queue for a file that is locked would grow
                for session_id in self._here:
                    self._submit([NOTHING], ignore, session_id)

    def _note_lost(self, session_id: SessionId, with_publisher: bool) -> None:
        self._here.discard(session_id)
        self._on_lost(session_id, with_publisher)

    # Rooms of other processes

    def share_rooms(self, asked: Callable[[RoomWish], bool], changed: Callable[[str], None]) -> None:
        self._on_room_asked = asked  # `changed` is not called: processes send each other that, see `server.elsewhere`

    async def take_room(self, room: RoomRecord, wish: RoomWish) -> RoomRecord | None:
        return await room_claims.take(
            partial(self._claim_room, room, wish), partial(self._neighbours.ask_for_room, wish)
        )

    async def _claim_room(
        self, room: RoomRecord, wish: RoomWish, former: Holder[str] | None
    ) -> RoomRecord | Holder[str] | None:
        """See `room_claims.take`."""
        found: RoomRecord | Holder[str] | None = None

        def claim(database: Database) -> Iterator[bool]:
            nonlocal found
            with database.transaction():
                found = _claimed(database, room, wish, self._owner, former)
            yield True

        await self._do(claim)
        return found

    def _note_room_asked(self, wish: RoomWish, by: str) -> None:
        answer = partial(self._neighbours.answer_for_room, wish.room, by)
        if self._on_room_asked(wish):
            self._submit([owners.release_room(wish.room, self._owner)], partial(answer, Outcome.RELEASED))
        else:
            answer(Outcome.REFUSED)

    def _note_asked(self, session_id: str, by: str) -> None:
        self._askers[session_id] = by
        self._on_asked(SessionId(session_id))


def _claimed(
    database: Database, room: RoomRecord, wish: RoomWish, owner: str, former: Holder[str] | None
) -> RoomRecord | Holder[str] | None:
    """Let a process have a room, if it may. Use it in a transaction; see `room_claims.take`."""
    database.execute(*owners.make_room(room))
    number, its_owner, generation, *columns = database.execute(owners.HELD_ROOM, (room.name, room.name)).fetchone()
    outcome = None
    if its_owner not in (None, owner):
        if former is None or (former.owner, former.generation) != (its_owner, generation):
            return Holder(its_owner, generation)
        outcome = former.outcome
    values = {"room": number, "owner": owner, "former": its_owner, "oldest_ms": now_ms() - wish.window_ms}
    earlier = database.execute(owners.EARLIER_PARTS, values).fetchall()
    ended = parts_to_end(wish, earlier, outcome)
    if ended is None:
        return None
    for part in ended:
        for statement in owners.end_part(part):
            database.execute(*statement)
    database.execute(*owners.take_room(number, owner))
    return RoomRecord(*columns)
