"""One room in memory, and the events of all its parts for its readers, one part after the other.

    room ─> snapshot of part 1 ─> snapshot of part 2 ─> ... the events of the part that runs ... ─> end ─> room ─> ...

A part that runs, or ended a moment ago, is read from its hub. Of an earlier one a snapshot is read from the store, once
for all readers. A reader's cursor is a place in one part, and all parts behind it follow.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from livecaption.errors import InvalidMessage, StoreFailed, Unauthorized
from livecaption.events import Room as RoomEvent
from livecaption.events import RoomPart
from livecaption.live.anywhere import ReadableSession
from livecaption.live.dialects.commands import RoomClaim
from livecaption.live.event_log import Message, seq_in
from livecaption.live.published import News, Published
from livecaption.live.room_parts import KeptLog, Log, Part
from livecaption.live.room_state import RoomState, room_state
from livecaption.live.session import LiveSession
from livecaption.live.tokens import check_reader, is_token, reader_token, token_hash
from livecaption.messages import encode
from livecaption.store.rows import RoomRecord, SessionRecord, SessionState


@dataclass
class RoomMessage(Message):
    """The state of the room, which has no number. With an epoch it has a cursor, for a reader without another one."""

    @property
    def text(self) -> str:
        return encode(self.event, None)

    @property
    def server_sent(self) -> bytes:
        cursor = f"id: {self.epoch}-{self.seq}\n" if self.epoch else ""
        return f"{cursor}event: {self.event.type}\ndata: {self.text}\n\n".encode()


class Room:
    """One room. Used by the event loop.

    Args:
        about: the room, as it is stored.
        parts: the parts of its present event so far, the oldest first.
        news: wakes its readers.
        find: returns the session of this id, if it runs or ended a moment ago, here or elsewhere.
        look_for: does the same, and asks the store where the session is not known here. Raises StoreFailed.
        load: reads the snapshot of a part from the store. Raises StoreFailed.

    Attributes:
        about: the room, as it is to be stored.
        parts: the parts of its present event, the oldest first.
    """

    def __init__(
        self,
        about: RoomRecord,
        parts: Sequence[Part],
        news: News,
        find: Callable[[str], ReadableSession | None],
        look_for: Callable[[str], Awaitable[ReadableSession | None]],
        load: Callable[[Part], Awaitable[Message | None]],
    ) -> None:
        self.about = about
        self.parts = list(parts)
        self.news = news
        self._find = find
        self._look_for = look_for
        self._load = load
        self._n_parts = len(parts)  # ever
        self._n_users = 0
        self._closed = False
        self._moved = False
        self._announced: tuple[object, ...] = ()  # the announcement is right as long as this is
        self._announcement: RoomEvent

    # What it is

    @property
    def private(self) -> bool:
        return self.about.reader_token_hash is not None

    @property
    def state(self) -> RoomState:
        return RoomState(self.announcement().state)

    @property
    def goes_on(self) -> bool:
        """True if the next part belongs to the present event."""
        return self.about.ended_at_ms is None and self.state in (RoomState.LIVE, RoomState.BREAK)

    @property
    def listed(self) -> list[Part]:
        """The parts of the present event, apart from those that were deleted."""
        return [part for part in self.parts if not part.deleted]

    @property
    def speaker(self) -> LiveSession | None:
        """The session whose publisher speaks in the room, or may come back."""
        newest = self._find(self.parts[-1].id) if self.parts else None
        return newest if isinstance(newest, LiveSession) and newest.takes_audio else None

    @property
    def running(self) -> ReadableSession | None:
        """The session of the newest part, if it runs, here or elsewhere."""
        newest = self._find(self.parts[-1].id) if self.parts else None
        return None if newest is None or newest.hub.ended else newest

    @property
    def is_idle(self) -> bool:
        """True if no part runs or ended a moment ago, and nobody uses the room."""
        return not self._n_users and all(self._find(part.id) is None for part in self.parts)

    def announcement(self) -> RoomEvent:
        """Return the room as it was when it last changed, apart from the length of a part that runs.

        It is the same object until the next change.
        """
        if any(part.deleted for part in self.parts):
            self.parts = [part for part in self.parts if not part.deleted or self._runs(part)]
        running = tuple(part.number for part in self.parts if self._runs(part))
        newest = self.parts[-1] if self.parts else None
        session = None if newest is None else self._find(newest.id)
        if newest is not None and session is not None and session.hub.ended:
            newest.note(session)
        has_left = self._moved and newest is not None and newest.id == self.about.name
        state = room_state(
            runs=has_left or (newest is not None and newest.number in running),
            ended=self.about.ended_at_ms is not None,
            newest_end_ms=None if newest is None else newest.started_at_ms + newest.duration_ms,
            now_ms=round(time.time() * 1000),
        )
        away = state is RoomState.LIVE and session is not None and not session.hub.has_publisher
        announced = (self.about, len(self.listed), running, state, away)
        if announced != self._announced:
            self._announced = announced
            parts = tuple(map(self._describe, self.listed))
            title = self.about.title or (parts[0].title if parts else "")
            session_id = newest.id if newest and state is RoomState.LIVE else None
            self._announcement = RoomEvent(self.about.name, title, self.private, state.value, session_id, away, parts)
        return self._announcement

    def description(self) -> RoomEvent:
        """Return the room as it is now."""
        return replace(self.announcement(), parts=tuple(map(self._describe, self.listed)))

    def _runs(self, part: Part) -> bool:
        if part.state is SessionState.ENDED:
            return False  # this is asked for each event and each reader
        session = self._find(part.id)
        return session is not None and not session.hub.ended

    def _describe(self, part: Part) -> RoomPart:
        session = self._find(part.id)
        if session is not None:
            part.note(session)
        state = part.state
        if session is None and state is SessionState.OPEN:  # the store has not written its end yet, or never will
            state = SessionState.ENDED
        return RoomPart(part.id, part.title, part.started_at_ms, part.duration_ms, state.value)

    def check_claim(self, claim: RoomClaim, *, private: bool) -> None:
        """Check that somebody has the publisher secret of the room, which is private if they need that.

        Raises:
            Unauthorized: `wrong_token`.
            InvalidMessage: the room is not private as it should be.
        """
        if not is_token(claim.secret, self.about.publisher_token_hash):
            raise Unauthorized("this is not the secret of the room", code="wrong_token")
        if private and not self.private:
            raise InvalidMessage("this room is not private, which is fixed when a room is made")
        reader_hash = token_hash(reader_token(claim.secret, self.about.name))
        if self.private and self.about.reader_token_hash != reader_hash:  # the token of an earlier version
            self.change(reader_token_hash=reader_hash)

    def check_reader(self, shown: str) -> None:
        """Check that a reader with this token, or with an empty one, may read along.

        Raises:
            Unauthorized: `wrong_token`; the room is private.
        """
        check_reader(shown, self.about.reader_token_hash)

    # Changes

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the room in memory, and what is read for its readers."""
        self._n_users += 1
        try:
            yield
        finally:
            self._n_users -= 1
            if not self._n_users:
                for part in self.parts:
                    part.snapshot = None

    def change(self, **fields: object) -> None:
        """Change the record of the room."""
        self.about = replace(self.about, **fields)  # type: ignore[arg-type]
        self.news.notify()

    def begin_event(self) -> None:
        """Begin the next event: the parts so far are of an earlier one."""
        self.parts = []
        self.change(event=self.about.event + 1, ended_at_ms=None)

    def add(self, session: LiveSession) -> None:
        """Add the session that begins as the next part."""
        self.parts.append(Part.of(self._n_parts, session))
        self._n_parts += 1
        self._moved = False
        self.news.notify()

    def update(self, about: RoomRecord, records: Sequence[SessionRecord]) -> None:
        """Let the room be as the store has it: another server may have changed it, or begun parts."""
        if about.event >= self.about.event:  # else the event that has begun here is on its way to the store
            self._adopt(about, records)
        if self.speaker is not None:
            self._moved = False  # nobody has begun a part elsewhere

    def _adopt(self, about: RoomRecord, records: Sequence[SessionRecord]) -> None:
        if about.event > self.about.event:
            self.parts = []
        known = {part.id: part for part in self.parts}
        for record in records:
            if (part := known.get(record.id)) is None:
                self.parts.append(Part.stored(self._n_parts, record))
                self._n_parts += 1
            elif self._find(record.id) is None:
                part.state, part.duration_ms, part.title = record.state, record.duration_ms, record.title
        for session_id in known.keys() - {record.id for record in records}:
            if self._find(session_id) is None:
                known[session_id].deleted = True
        self.about = about
        self._announced = ()
        self.news.notify()

    def remove(self, session_id: str) -> None:
        """Remove a part that was deleted. One that runs is not listed any more, and is removed at its end."""
        for part in self.parts:
            if part.id == session_id:
                part.deleted = True
                self.news.notify()

    def rename(self, session_id: str, title: str | None) -> None:
        """Change the title of a part, if there is one of this session, and that of its own room.

        None: the names of its speakers have changed, which readers that come from now on get.
        """
        for part in self.parts:
            if part.id == session_id:
                part.snapshot = None
                if title is None:
                    continue
                part.title = title
                if self.about.name == session_id:
                    self.about = replace(self.about, title=title)
                self._announced = ()
                self.news.notify()

    def close(self) -> None:
        """End the feeds of all readers, because the server stops."""
        self._closed = True
        self.news.notify()

    async def find_parts(self) -> None:
        """Find the parts that run in other servers, and follow them from now on.

        Raises:
            StoreFailed: the store cannot be read.
        """
        for part in list(self.parts):
            await self._found(part)

    async def _found(self, part: Part) -> ReadableSession | None:
        session = self._find(part.id)
        if session is None and part.state is not SessionState.ENDED:
            session = await self._look_for(part.id)
        if session is not None:
            session.hub.news.wake(self.news)
        return session

    def move_on(self) -> None:
        """End the feeds of all readers after the parts that run here, because the room goes on in another process."""
        self._moved = True
        self.news.notify()

    # Reading

    async def subscribe(self, cursor: str, heartbeat_s: float) -> AsyncGenerator[list[Message], None]:
        """Give the messages for a reader at this cursor (empty or unknown: at the beginning), until the room has ended.

        The feed ends early if the server stops, or the room goes on elsewhere. It waits if the store cannot be read. An
        empty list: nothing happened for `heartbeat_s`. The room must be `used` meanwhile.
        """
        part, seq = self._place(cursor)
        announced = self.announcement()
        yield [RoomMessage(0, announced, "" if part else "room")]
        log: Log | None = None
        while True:
            if part is not None:
                if isinstance(log, KeptLog) and self._runs(part):
                    log, seq = None, None  # its publisher has come back after the death of a server
                try:
                    log = log or await self._log(part)  # once: a deleted part is forgotten while it is read
                except StoreFailed:
                    if self._closed:
                        return
                    if not await self.news.wait(heartbeat_s):
                        yield []
                    continue
                messages, seq = log.read(seq)
                if messages:
                    yield messages
                    continue
            if log is not None and log.closed and not log.ended:
                return  # the reader comes back, and finds the part where it goes on
            if self.announcement() is not announced:
                announced = self.announcement()
                yield [RoomMessage(0, announced, "")]
                continue
            part_is_over = log is None or log.ended
            following = self._part_after(part) if part_is_over else None
            if following is not None:
                part, seq, log = following, None, None
            elif self._closed or (part_is_over and (self._moved or announced.state == RoomState.ENDED.value)):
                return
            elif not await self.news.wait(heartbeat_s):
                yield []

    def newest_cursor(self) -> str:
        """Return the cursor of a reader that has everything so far; empty: no part has begun."""
        if not self.parts:
            return ""
        newest = self.parts[-1]
        session = self._find(newest.id)
        epoch, seq = (newest.epoch, newest.end_seq) if session is None else (session.hub.epoch, session.hub.last_seq)
        return f"{epoch}-{seq}"

    async def is_over_for(self, cursor: str) -> bool:
        """Return True if the room has ended, and a reader with this cursor has everything.

        Raises:
            StoreFailed: the store cannot be read.
        """
        if not cursor or self.state is not RoomState.ENDED:
            return False
        part, seq = self._place(cursor)
        part = part or self._part_after(None)
        while part is not None:
            if (await self._log(part)).read(seq)[0]:
                return False
            part, seq = self._part_after(part), None
        return True

    def _place(self, cursor: str) -> tuple[Part | None, int | None]:
        """Return the part and the number of a cursor. None: it is before the first part.

        The id of a part is a cursor before it.
        """
        for part in self.parts:
            if cursor == part.id:
                return part, None
            session = self._find(part.id)
            seq = seq_in(cursor, part.epoch if session is None else session.hub.epoch)
            if seq is not None:
                return part, seq
        return None, None

    def _part_after(self, part: Part | None) -> Part | None:
        number = -1 if part is None else part.number
        return next((each for each in self.parts if each.number > number), None)

    async def _log(self, part: Part) -> Published | KeptLog:
        session = await self._found(part)
        if session is not None:
            if session.hub.ended:
                part.note(session)
            return session.hub
        if part.snapshot is None or (part.snapshot.done() and part.snapshot.exception()):
            part.snapshot = asyncio.ensure_future(self._load(part))
        return KeptLog(await asyncio.shield(part.snapshot), part.end_seq)
