"""All rooms in use: look-up, who may speak in them, and their parts.

A room is in memory while a part of it runs or anybody reads it; else it is in the store alone. Without a store it stays
in memory. A session without a room is a room of its own, in which no other part follows. Where servers share the store,
a room is taken there before anybody speaks in it here: see `room_ownership`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from livecaption.errors import StoreFailed, Unavailable, UnknownSession, WrongState
from livecaption.live.anywhere import Anywhere
from livecaption.live.dialects.commands import Finish, Open, RoomClaim
from livecaption.live.opener import RoomOfSession
from livecaption.live.peer import Peer
from livecaption.live.published import News
from livecaption.live.registry import SessionRegistry
from livecaption.live.room import Room
from livecaption.live.room_ownership import RoomOwnership, key_of
from livecaption.live.room_parts import Part
from livecaption.live.room_state import is_name
from livecaption.live.session import LiveSession
from livecaption.live.state import Ending
from livecaption.live.stored_rooms import NO_SECRET, is_own, stored_room, stored_snapshot
from livecaption.live.tokens import reader_token, token_hash
from livecaption.pipeline.options import StreamOptions
from livecaption.store.rows import InterruptedSession, RoomRecord, SessionRecord
from livecaption.store.store import MAX_UNUSED_ROOMS, RoomWish, Store, oldest_waiting_ms, written

FULL_RETRY_AFTER_S = 3600.0
"""Time after which a client may prepare a room again. A place is free when one of the rooms that wait is used or ended,
or has waited too long. Nobody knows when that is; it is hardly within minutes."""


class Rooms:
    """The rooms. Used by the event loop.

    Args:
        sessions: opens and finds sessions.
        store: None: nothing is kept.
        anywhere: finds the sessions of other servers, each of which is a room of its own too.
        resume_window_s: how long a part waits for its publisher.

    Attributes:
        news: wakes sinks that wait for a room to be made, or for a part of it to begin.
        changed: called with the name of a room in which a part begins or goes on here, or that was changed here.
        is_elsewhere: returns whether somebody speaks in the room of this name in another process of the server. It is
            asked where nothing is kept.
    """

    def __init__(
        self, sessions: SessionRegistry, store: Store | None, anywhere: Anywhere, resume_window_s: float
    ) -> None:
        self._sessions = sessions
        self._anywhere = anywhere
        self._store = store
        self._window_ms = round(resume_window_s * 1000)
        self._ownership = RoomOwnership(store, self.speaker_in, self._replace)
        if store is not None:
            store.share_rooms(self._ownership.give, self._note_changed)
        self._rooms: dict[str, Room] = {}  # by `key_of`, or by the id of a session of its own; the oldest first
        self.news = News()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.changed: Callable[[str], None] = lambda _: None
        self.is_elsewhere: Callable[[str], Awaitable[bool]] = _nowhere

    @property
    def closed(self) -> bool:
        """True if the server stops."""
        return self._closed

    async def find(self, name: str) -> Room:
        """Return the room of this name, or the own room of the session with this id. Use it before the next `await`.

        Raises:
            UnknownSession: `unknown_room`: there is none.
            StoreFailed: the store cannot be read.
        """
        room = await self._known(name)
        if room is None:
            raise UnknownSession("there is no such room, or it is forgotten", code="unknown_room")
        return room

    async def enter(self, claim: RoomClaim, *, private: bool = False, prepares: bool = False) -> Room:
        """Return the room for somebody who has its secret; make it if there is none. Use it before the next `await`.

        Args:
            claim: the room, with a valid name and secret.
            private: whether its readers need a token. It is fixed when the room is made.
            prepares: whether a new room is to wait for its first part.

        Raises:
            Unauthorized: `wrong_token`.
            InvalidMessage: the room exists, and is not private as it should be.
            WrongState: `room_taken`: somebody speaks in it in another process, and nothing is kept.
            Unavailable: as many rooms wait for their first part as the server keeps.
            StoreFailed: the store cannot be read.
        """
        if self._store is None and await self.is_elsewhere(claim.name):
            raise WrongState(
                "somebody speaks in this room, at another process: name it in the address (?room=)", code="room_taken"
            )
        is_full = prepares and await self._n_waiting() >= MAX_UNUSED_ROOMS
        room = await self._known(claim.name)
        if room is None and is_full:
            raise Unavailable("too many rooms wait for their first part", retry_after_s=FULL_RETRY_AFTER_S)
        room = room or self._make(claim, private=private)
        room.check_claim(claim, private=private)
        return room

    def speaker_in(self, name: str) -> LiveSession | None:
        """Return the session whose publisher speaks in the room of this name, or None."""
        room = self._rooms.get(key_of(name))  # where somebody speaks it is in memory
        return None if room is None else room.speaker

    @asynccontextmanager
    async def taken(self, room: Room, claim: RoomClaim, *, private: bool) -> AsyncIterator[None]:
        """Have a room that was entered in this server while a part is opened. See `RoomOwnership.taken`.

        The part of a publisher at another server ends only with `take_over`, and that of the same publisher always.

        Raises:
            WrongState, Unavailable, StoreFailed: see `RoomOwnership.taken`.
            Unauthorized, InvalidMessage: see `enter`.
        """
        former_hash = token_hash(claim.former) if claim.former else ""
        wish = RoomWish(room.about.name, claim.take_over, former_hash, window_ms=self._window_ms)
        async with self._taken(room, wish):
            room.check_claim(claim, private=private)  # somebody else may have made it meanwhile
            yield

    @asynccontextmanager
    async def going_on(self, record: SessionRecord) -> AsyncIterator[None]:
        """Have the room of a session in this server while it is taken over from another one.

        Raises:
            WrongState, Unavailable, StoreFailed: see `RoomOwnership.taken`.
        """
        room = None if record.room is None else await self._known(record.room)
        if room is None:
            yield
            return
        wish = RoomWish(room.about.name, resumed=record.id, window_ms=self._window_ms)
        async with self._taken(room, wish):
            yield

    @asynccontextmanager
    async def _taken(self, room: Room, wish: RoomWish) -> AsyncIterator[None]:
        self._rooms.setdefault(_key_of(room.about), room)
        with room.used():
            async with self._ownership.taken(room.about, wish) as stored:
                if stored is not None:
                    await self._update(room, stored)
                yield

    def open(
        self,
        room: Room,
        connection: Peer,
        command: Open,
        claim: RoomClaim,
        slot: ExitStack,
        *,
        is_admitted: bool,
        resumable: bool,
    ) -> LiveSession:
        """Open a session as the next part of a room that was entered. See `SessionRegistry.open`.

        The part of another publisher ends only with `take_over`, and that of the same one always.

        Raises:
            WrongState: `room_taken`: somebody speaks in it already, and is not to be replaced.
        """
        speaker = room.speaker
        if speaker is not None and not claim.take_over and not speaker.tokens.is_publisher(claim.former):
            raise WrongState("somebody else speaks in this room; `take_over` ends their part", code="room_taken")
        command = replace(command, options=replace(command.options, private=room.private))
        name = room.about.name
        own = RoomOfSession(name, reader_token(claim.secret, name), room.news, partial(self._begin_part, room))
        session = self._sessions.open(
            connection, command, slot, is_admitted=is_admitted, resumable=resumable, room=own, replaced=speaker
        )
        if speaker is not None:
            self._replace(speaker)
        room.add(session)
        return session

    async def reopen(self, earlier: InterruptedSession, options: StreamOptions) -> LiveSession:
        """Go on with a session of another server.

        Raises:
            StoreFailed: the store cannot be read.
        """
        room = None if earlier.record.room is None else await self._known(earlier.record.room)
        session = self._sessions.reopen(earlier, options, None if room is None else room.news)
        self.news.notify()
        if room is not None:
            self.changed(room.about.name)
        return session

    async def put(self, room: Room, title: str | None, *, ended: bool) -> None:
        """Change a room that was entered, and wait until it is stored.

        `ended`: its publisher ends the event, and thereby a part that runs or waits for its publisher.
        """
        self._keep(room)
        if title is not None:
            room.change(title=title)
        if ended:
            if (speaker := room.speaker) is not None:
                self._reopen_in_store(speaker)
                speaker.execute(Finish())
            room.change(ended_at_ms=_now_ms())
        if self._store is not None:
            with room.used():
                await written(partial(self._store.put_room, room.about))
        self.changed(room.about.name)

    def end(self, session: LiveSession) -> None:
        """End the room of this session, if it has one and this is its newest part."""
        room = self._rooms.get(key_of(session.about.room or ""))
        if room is not None and [part.id for part in room.parts[-1:]] == [session.id]:
            room.change(ended_at_ms=_now_ms())
            self._write(room)

    def remove_part(self, session_id: str) -> None:
        """Forget a session that was deleted, and remove it from its room."""
        self._sessions.forget(session_id)
        for name, room in [*self._rooms.items()]:
            room.remove(session_id)
            if name == session_id and is_own(room.about) and self._sessions.known(session_id) is None:
                del self._rooms[name]

    def rename_part(self, session_id: str, title: str | None, names: Mapping[int, str]) -> None:
        """Change the title of a session, and names of its speakers, for its readers and in its room."""
        session = self._sessions.known(session_id)
        if session is not None:
            session.name_speakers(names)
            if title is not None:
                session.hub.rename(title)
        for room in self._rooms.values():
            room.rename(session_id, title)

    def has(self, name: str) -> bool:
        """Return True if somebody speaks in the room of this name here, or it is nowhere else."""
        return self.speaker_in(name) is not None or (self._store is None and key_of(name) in self._rooms)

    def let_go(self, name: str) -> None:
        """Forget a room that another process has changed, or a room or session that it has. Its readers come back."""
        key = name if name in self._rooms else key_of(name)
        if (room := self._rooms.get(key)) is None:
            return
        if room.speaker is None:
            del self._rooms[key]
            room.move_on()
        elif self._store is not None:
            room.move_on()  # after the last words here, if somebody has taken over elsewhere
            self._note_changed(name)

    def _note_changed(self, name: str) -> None:
        """Read a room again that another server has changed; empty: all that are here."""
        for room in [*self._rooms.values()] if not name else filter(None, [self._rooms.get(key_of(name))]):
            if not is_own(room.about):
                task = asyncio.ensure_future(self._refresh(room))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        self.news.notify()  # it may be one for which a sink waits

    async def _refresh(self, room: Room) -> None:
        assert self._store is not None
        with room.used(), suppress(StoreFailed):
            stored = await self._store.room(room.about.name)
            if stored is not None:
                await self._update(room, stored)

    async def _update(self, room: Room, stored: RoomRecord) -> None:
        """Let a room be what the store has of it. If its event has ended, the part that runs here ends."""
        assert self._store is not None
        room.update(stored, await self._store.parts(stored))
        await room.find_parts()
        if stored.ended_at_ms is not None and (speaker := room.speaker) is not None:
            self._reopen_in_store(speaker)
            speaker.execute(Finish())

    def close(self) -> None:
        """End the feeds of all readers, because the server stops."""
        self._closed = True
        for room in self._rooms.values():
            room.close()
        self.news.notify()

    # Look-up

    async def _known(self, name: str) -> Room | None:
        """Return the room of this name.

        The id of a session comes before a room whose name differs in case alone: somebody else may have made that one.
        """
        self._drop_idle()
        room = self._rooms.get(name)
        if room is not None and not is_own(room.about):
            return room
        session = await self._anywhere.look_for(name)
        if (room := self._rooms.get(name)) is not None:
            return room
        if session is not None:
            about = RoomRecord(name, session.hub.title, NO_SECRET, session.tokens.reader_hash, 0, ended_at_ms=0)
            return self._add(about, [Part.of(0, session)], session.hub.news)
        room = self._rooms.get(key_of(name))
        if self._store is None or not is_name(name) or (room is not None and room.about.name == name):
            return room
        found = await stored_room(self._store, name)
        room = self._rooms.get(key_of(name) if found is None else _key_of(found[0]))
        if found is None or room is not None:  # it was in memory, or another request came first
            return room
        about, records = found
        read = self._room(about, [Part.stored(number, record) for number, record in enumerate(records)], News())
        await read.find_parts()
        return self._rooms.setdefault(_key_of(about), read)

    async def _n_waiting(self) -> int:
        oldest_ms = oldest_waiting_ms()
        if self._store is not None:
            return await self._store.n_waiting_rooms(oldest_ms)
        return sum(room.about.waits(oldest_ms) for room in self._rooms.values())

    def _make(self, claim: RoomClaim, *, private: bool) -> Room:
        """Make a room, which is kept once it is prepared or a part begins."""
        reader_hash = token_hash(reader_token(claim.secret, claim.name)) if private else None
        return self._room(RoomRecord(claim.name, "", token_hash(claim.secret), reader_hash, _now_ms()), [], News())

    def _replace(self, speaker: LiveSession) -> None:
        self._reopen_in_store(speaker)
        speaker.end_audio(Ending("replaced"))

    def _begin_part(self, room: Room) -> int:
        if not room.goes_on:
            room.begin_event()
        self._keep(room)
        self._write(room)
        return room.about.event

    def _keep(self, room: Room) -> None:
        """Keep a room that was made. Without a store the oldest goes that neither waits for its first part nor runs."""
        key = key_of(room.about.name)
        if self._store is None and key not in self._rooms and len(self._rooms) >= MAX_UNUSED_ROOMS:
            oldest_ms = oldest_waiting_ms()
            over = (name for name, other in self._rooms.items() if other.is_idle and not other.about.waits(oldest_ms))
            self._rooms.pop(next(over, ""), None)
        self._rooms[key] = room
        self.news.notify()

    def _add(self, about: RoomRecord, parts: list[Part], news: News) -> Room:
        room = self._room(about, parts, news)
        self._rooms[_key_of(about)] = room
        return room

    def _room(self, about: RoomRecord, parts: list[Part], news: News) -> Room:
        load = partial(stored_snapshot, self._store)
        room = Room(about, parts, news, self._anywhere.known, self._anywhere.look_for, load)
        if self._closed:
            room.close()
        return room

    def _drop_idle(self) -> None:
        """Forget what the store has, or nobody can return to."""
        idle = [name for name, room in self._rooms.items() if room.is_idle]
        for name in idle:
            if self._store is not None or is_own(self._rooms[name].about):
                del self._rooms[name]

    def _write(self, room: Room) -> None:
        """Store a room. Other processes read it again once it is stored: before that they would find the former one."""
        tell = partial(self.changed, room.about.name)
        if self._store is None:
            tell()
        else:
            self._store.put_room(room.about, tell)

    def _reopen_in_store(self, session: LiveSession) -> None:
        """Note that its publisher is here, so that its end is no interruption by a crash."""
        if self._store is not None:
            self._store.reopen(session.id)


async def _nowhere(name: str) -> bool:
    return False


def _key_of(about: RoomRecord) -> str:
    return about.name if is_own(about) else key_of(about.name)


def _now_ms() -> int:
    return round(time.time() * 1000)
