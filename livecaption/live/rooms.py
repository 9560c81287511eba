"""All rooms in use: look-up, who may speak in them, and their parts.

A room is in memory while a part of it runs or anybody reads it; else it is in the store alone. Without a store it stays
in memory. A session without a room is a room of its own, in which no other part follows.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from livecaption.errors import InvalidMessage, UnknownSession, WrongState
from livecaption.events import Snapshot
from livecaption.live.dialects.commands import Open, RoomClaim
from livecaption.live.event_log import Message, SnapshotMessage
from livecaption.live.hub import News
from livecaption.live.opener import RoomOfSession
from livecaption.live.peer import Peer
from livecaption.live.registry import SessionRegistry
from livecaption.live.room import Part, Room
from livecaption.live.room_state import is_name
from livecaption.live.session import LiveSession
from livecaption.live.tokens import reader_token, token_hash
from livecaption.messages import encode_final
from livecaption.pipeline.options import StreamOptions
from livecaption.store.database import Database
from livecaption.store.rows import InterruptedSession, RoomRecord, SessionRecord
from livecaption.store.transcripts import MAX_UNUSED_ROOMS, TranscriptStore

NO_SECRET = ""
"""The hash that no secret has: nobody can speak in the own room of a session."""
NO_READER = ""
"""The hash that no token has: a private session that is over is for the operator alone."""


class Rooms:
    """The rooms. Used by the event loop.

    Args:
        sessions: opens and finds sessions.
        store: None: nothing is kept.
    """

    def __init__(self, sessions: SessionRegistry, store: TranscriptStore | None) -> None:
        self._sessions = sessions
        self._store = store
        self._rooms: dict[str, Room] = {}  # by name, the oldest first
        self._closed = False

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

    async def enter(self, claim: RoomClaim, *, title: str = "", private: bool = False) -> Room:
        """Return the room for somebody who has its secret; make it if there is none. Use it before the next `await`.

        Args:
            claim: the room, with a valid name and secret.
            title: its title if it has none yet.
            private: whether its readers need a token. It is fixed when the room is made.

        Raises:
            Unauthorized: `wrong_token`.
            InvalidMessage: the room exists, and is not private as it should be.
            StoreFailed: the store cannot be read.
        """
        room = await self._known(claim.name) or self._rooms.get(claim.name) or self._make(claim, private=private)
        room.check_publisher(claim.secret)
        if private and not room.private:
            raise InvalidMessage("this room is not private, which is fixed when a room is made")
        if title and not room.about.title:
            room.change(title=title)
        return room

    def speaker_in(self, name: str) -> LiveSession | None:
        """Return the session whose publisher speaks in the room of this name, or None."""
        room = self._rooms.get(name)  # where somebody speaks it is in memory
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
        self._write(room)  # the session is stored with its room
        command = replace(command, options=replace(command.options, private=room.private))
        own = RoomOfSession(room.about.name, reader_token(claim.secret), room.news)
        session = self._sessions.open(
            connection, command, slot, is_admitted=is_admitted, resumable=resumable, room=own, replaced=speaker
        )
        if speaker is not None:
            speaker.replace()
        room.add(session)
        if room.about.ended_at_ms is not None:
            room.change(ended_at_ms=None)
            self._write(room)
        return session

    async def reopen(self, earlier: InterruptedSession, options: StreamOptions) -> None:
        """Go on with a session that an earlier server has left open.

        Raises:
            StoreFailed: the store cannot be read.
        """
        room = None if earlier.record.room is None else await self._known(earlier.record.room)
        self._sessions.reopen(earlier, options, None if room is None else room.news)

    async def put(self, room: Room, title: str | None, *, ended: bool) -> None:
        """Change a room that was entered, and wait until it is stored. `ended`: its publisher ends the event."""
        if title is not None:
            room.change(title=title)
        if ended:
            room.change(ended_at_ms=_now_ms())
        if self._store is not None:
            with room.used():
                await self._store.written(partial(self._store.put_room, room.about))

    def end(self, session: LiveSession) -> None:
        """End the room of this session, if it has one and this is its newest part."""
        room = self._rooms.get(session.about.room or "")
        if room is not None and room.parts[-1].id == session.id:
            room.change(ended_at_ms=_now_ms())
            self._write(room)

    def remove_part(self, session_id: str) -> None:
        """Remove a session that was deleted from its room."""
        for room in self._rooms.values():
            room.remove(session_id)

    def rename_part(self, session_id: str, title: str) -> None:
        """Change the title of a session for its readers, and in its room."""
        session = self._sessions.known(session_id)
        if session is not None:
            session.hub.rename(title)
        for room in self._rooms.values():
            room.rename(session_id, title)

    def close(self) -> None:
        """End the feeds of all readers, because the server stops."""
        self._closed = True
        for room in self._rooms.values():
            room.close()

    # Look-up

    async def _known(self, name: str) -> Room | None:
        self._drop_idle()
        if name in self._rooms:
            return self._rooms[name]
        session = self._sessions.known(name)
        if session is not None:
            about = RoomRecord(name, session.hub.title, NO_SECRET, session.tokens.reader_hash, 0, ended_at_ms=0)
            return self._add(about, [Part.of(0, session)], session.hub.news)
        if self._store is None or not is_name(name):
            return None
        found = await self._store.read(partial(_read, name))
        if name in self._rooms:  # since another request came first
            return self._rooms[name]
        if found is None:
            return None
        about, records = found
        return self._add(about, [Part.stored(number, record) for number, record in enumerate(records)], News())

    def _make(self, claim: RoomClaim, *, private: bool) -> Room:
        if self._store is None and len(self._rooms) >= MAX_UNUSED_ROOMS:
            oldest = next((name for name, room in self._rooms.items() if room.is_idle), None)
            if oldest is not None:
                del self._rooms[oldest]
        reader_hash = token_hash(reader_token(claim.secret)) if private else None
        return self._add(RoomRecord(claim.name, "", token_hash(claim.secret), reader_hash, _now_ms()), [], News())

    def _add(self, about: RoomRecord, parts: list[Part], news: News) -> Room:
        room = self._rooms[about.name] = Room(about, parts, news, self._sessions.known, self._load)
        if self._closed:
            room.close()
        return room

    def _drop_idle(self) -> None:
        """Forget what the store has, or nobody can return to."""
        idle = [name for name, room in self._rooms.items() if room.is_idle]
        for name in idle:
            if self._store is not None or self._rooms[name].about.publisher_token_hash == NO_SECRET:
                del self._rooms[name]

    def _write(self, room: Room) -> None:
        if self._store is not None:
            self._store.put_room(room.about, lambda: None)

    async def _load(self, part: Part) -> Message | None:
        return None if self._store is None else await self._store.read(partial(_snapshot, part))


def _read(name: str, database: Database) -> tuple[RoomRecord, list[SessionRecord]] | None:
    room = database.room(name)
    if room is not None:
        return room, database.parts(name)
    session = database.session(name)
    if session is None:
        return None
    reader_hash = NO_READER if session.private else None
    return RoomRecord(name, session.title, NO_SECRET, reader_hash, 0, ended_at_ms=0), [session]


def _snapshot(part: Part, database: Database) -> Message | None:
    """Return all captions of a part that is over, encoded; None: there are none."""
    record = database.session(part.id)
    finals = [] if record is None else [final for final in database.finals(record) if final.text]
    if not finals:
        return None
    encoded = tuple(encode_final(replace(final, words=None)) for final in finals)
    tracks = dict.fromkeys(text.language for final in finals for text in final.translations or ())
    snapshot = Snapshot(part.title, part.language, (), None, part.epoch, session=part.id, tracks=tuple(tracks) or None)
    return SnapshotMessage(part.end_seq, snapshot, part.epoch, encoded_finals=encoded)


def _now_ms() -> int:
    return round(time.time() * 1000)
