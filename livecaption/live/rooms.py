"""All rooms in use: look-up, who may speak in them, and their parts.

A room is in memory while a part of it runs or anybody reads it; else it is in the store alone. Without a store it stays
in memory. A session without a room is a room of its own, in which no other part follows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from livecaption.errors import InvalidMessage, Unavailable, UnknownSession, WrongState
from livecaption.events import Final, Snapshot
from livecaption.live.anywhere import Anywhere
from livecaption.live.dialects.commands import Finish, Open, RoomClaim
from livecaption.live.event_log import Message, SnapshotMessage, listed
from livecaption.live.opener import RoomOfSession
from livecaption.live.peer import Peer
from livecaption.live.published import News
from livecaption.live.registry import SessionRegistry
from livecaption.live.room import Part, Room
from livecaption.live.room_state import is_name
from livecaption.live.session import LiveSession
from livecaption.live.state import Ending
from livecaption.live.tokens import reader_token, token_hash
from livecaption.messages import encode_final
from livecaption.pipeline.options import StreamOptions
from livecaption.store.rows import InterruptedSession, RoomRecord, SessionRecord
from livecaption.store.store import MAX_UNUSED_ROOMS, Store, oldest_waiting_ms, written

NO_SECRET = ""
"""The hash that no secret has: nobody can speak in the own room of a session."""
NO_READER = ""
"""The hash that no token has: a private session that is over is for the operator alone."""
FULL_RETRY_AFTER_S = 3600.0
"""Time after which a client may prepare a room again. A place is free when one of the rooms that wait is used or ended,
or has waited too long. Nobody knows when that is; it is hardly within minutes."""


class Rooms:
    """The rooms. Used by the event loop.

    Args:
        sessions: opens and finds sessions.
        store: None: nothing is kept.
        anywhere: finds the sessions of other servers, each of which is a room of its own too.

    Attributes:
        news: wakes sinks that wait for a room to be made, or for a part of it to begin.
        changed: called with the name of a room in which a part begins here, or that was changed here.
        is_elsewhere: returns whether somebody speaks in the room of this name in another process of the server.
    """

    def __init__(self, sessions: SessionRegistry, store: Store | None, anywhere: Anywhere) -> None:
        self._sessions = sessions
        self._anywhere = anywhere
        self._store = store
        self._rooms: dict[str, Room] = {}  # by `_key`, or by the id of a session of its own; the oldest first
        self.news = News()
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
            WrongState: `room_taken`: somebody speaks in it in another process.
            Unavailable: as many rooms wait for their first part as the server keeps.
            StoreFailed: the store cannot be read.
        """
        if await self.is_elsewhere(claim.name):
            raise WrongState(
                "somebody speaks in this room, at another process: name it in the address (?room=)", code="room_taken"
            )
        is_full = prepares and await self._n_waiting() >= MAX_UNUSED_ROOMS
        room = await self._known(claim.name)
        if room is None and is_full:
            raise Unavailable("too many rooms wait for their first part", retry_after_s=FULL_RETRY_AFTER_S)
        room = room or self._make(claim, private=private)
        room.check_publisher(claim.secret)
        if private and not room.private:
            raise InvalidMessage("this room is not private, which is fixed when a room is made")
        reader_hash = token_hash(reader_token(claim.secret, room.about.name))
        if room.private and room.about.reader_token_hash != reader_hash:  # the token of an earlier version
            room.change(reader_token_hash=reader_hash)
        return room

    def speaker_in(self, name: str) -> LiveSession | None:
        """Return the session whose publisher speaks in the room of this name, or None."""
        room = self._rooms.get(_key(name))  # where somebody speaks it is in memory
        return None if room is None else room.speaker

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
            self._reopen_in_store(speaker)
            speaker.end_audio(Ending("replaced"))
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
        room = self._rooms.get(_key(session.about.room or ""))
        if room is not None and [part.id for part in room.parts[-1:]] == [session.id]:
            room.change(ended_at_ms=_now_ms())
            self._write(room)

    def remove_part(self, session_id: str) -> None:
        """Forget a session that was deleted, and remove it from its room."""
        self._sessions.forget(session_id)
        for room in self._rooms.values():
            room.remove(session_id)
        if self._sessions.known(session_id) is None:
            self._rooms.pop(session_id, None)  # its own

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
        return self.speaker_in(name) is not None or (self._store is None and _key(name) in self._rooms)

    def let_go(self, name: str) -> None:
        """End the feeds of readers of a room that another process has changed or has now, and forget what it was."""
        room = self._rooms.get(_key(name))
        if room is not None and room.speaker is None:
            del self._rooms[_key(name)]
            room.close()

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
        if room is not None and not _is_own(room.about):
            return room
        session = await self._anywhere.look_for(name)
        if (room := self._rooms.get(name)) is not None:
            return room
        if session is not None:
            about = RoomRecord(name, session.hub.title, NO_SECRET, session.tokens.reader_hash, 0, ended_at_ms=0)
            return self._add(about, [Part.of(0, session)], session.hub.news)
        room = self._rooms.get(_key(name))
        if self._store is None or not is_name(name) or (room is not None and room.about.name == name):
            return room
        found = await _stored(self._store, name)
        room = self._rooms.get(_key(name) if found is None else _key_of(found[0]))
        if found is None or room is not None:  # it was in memory, or another request came first
            return room
        about, records = found
        return self._add(about, [Part.stored(number, record) for number, record in enumerate(records)], News())

    async def _n_waiting(self) -> int:
        """Return the number of rooms that wait for their first part."""
        oldest_ms = oldest_waiting_ms()
        if self._store is not None:
            return await self._store.n_waiting_rooms(oldest_ms)
        return sum(room.about.waits(oldest_ms) for room in self._rooms.values())

    def _make(self, claim: RoomClaim, *, private: bool) -> Room:
        """Make a room, which is kept once it is prepared or a part begins."""
        reader_hash = token_hash(reader_token(claim.secret, claim.name)) if private else None
        return self._room(RoomRecord(claim.name, "", token_hash(claim.secret), reader_hash, _now_ms()), [], News())

    def _begin_part(self, room: Room) -> int:
        if not room.goes_on:
            room.begin_event()
        self._keep(room)
        self._write(room)
        self.changed(room.about.name)
        return room.about.event

    def _keep(self, room: Room) -> None:
        """Keep a room that was made. Without a store the oldest goes that neither waits for its first part nor runs."""
        key = _key(room.about.name)
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
        find = self._anywhere.known if _is_own(about) else self._sessions.known
        room = Room(about, parts, news, find, self._load)
        if self._closed:
            room.close()
        return room

    def _drop_idle(self) -> None:
        """Forget what the store has, or nobody can return to."""
        idle = [name for name, room in self._rooms.items() if room.is_idle]
        for name in idle:
            if self._store is not None or _is_own(self._rooms[name].about):
                del self._rooms[name]

    def _write(self, room: Room) -> None:
        if self._store is not None:
            self._store.put_room(room.about, lambda: None)

    def _reopen_in_store(self, session: LiveSession) -> None:
        """Note that its publisher is here, so that its end is no interruption by a crash."""
        if self._store is not None:
            self._store.reopen(session.id)

    async def _load(self, part: Part) -> Message | None:
        if self._store is None:
            return None
        record = await self._store.session(part.id)
        if record is None:
            return None
        finals = await self._store.finals(part.id)
        return await asyncio.to_thread(_snapshot, part, record.names, finals)


async def _nowhere(name: str) -> bool:
    return False


def _key(name: str) -> str:
    """Return the name without case, which does not count."""
    return name.lower()


def _is_own(about: RoomRecord) -> bool:
    """Return True for the own room of a session without a room."""
    return about.publisher_token_hash == NO_SECRET


def _key_of(about: RoomRecord) -> str:
    return about.name if _is_own(about) else _key(about.name)


async def _stored(store: Store, name: str) -> tuple[RoomRecord, list[SessionRecord]] | None:
    session = await store.session(name)
    if session is not None:
        reader_hash = NO_READER if session.private else None
        return RoomRecord(name, session.title, NO_SECRET, reader_hash, 0, ended_at_ms=0), [session]
    room = await store.room(name)
    return None if room is None else (room, await store.parts(room))


def _snapshot(part: Part, names: Mapping[int, str], stored: Iterable[Final]) -> Message | None:
    """Return all captions of a part that is over, encoded; None: there are none."""
    finals = [final for final in stored if final.text]
    if not finals:
        return None
    encoded = tuple(encode_final(replace(final, words=None)) for final in finals)
    tracks = dict.fromkeys(text.language for final in finals for text in final.translations or ())
    snapshot = Snapshot(
        part.title,
        part.language,
        (),
        None,
        part.epoch,
        session=part.id,
        tracks=tuple(tracks) or None,
        names=listed(names),
    )
    return SnapshotMessage(part.end_seq, snapshot, part.epoch, encoded_finals=encoded)


def _now_ms() -> int:
    return round(time.time() * 1000)
