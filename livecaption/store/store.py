"""The server needs this of a store, whichever database keeps the transcripts.

`begin`, `append`, `translate` and `end` return at once. Data that is reported as written survives the death of the
server. If that takes longer than `MAX_HOLD_S`, captions are sent before it: see `held`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from livecaption.events import Final, SpeakerNamed, Translation
from livecaption.recognition import SessionId
from livecaption.store.broadcast import Broadcast
from livecaption.store.rows import (
    InterruptedSession,
    NewSession,
    Numbered,
    Resumption,
    RoomRecord,
    RunningSession,
    SessionRecord,
)
from livecaption.store.search import Excerpt

CLOSE_TIMEOUT_S = 1.0
"""Time in s in which a stop writes what waits. Longer: a stop takes longer. Shorter: more is lost by a slow disk."""
CHORE_TIMEOUT_S = 30.0
"""Time-out in s of a deletion. A session of an hour among a thousand sessions takes less than 1 s."""
RETRY_S = 1.0
"""Time in s from a failure to write to the next try."""
TAKEN_RETRY_AFTER_S = 1.0
"""Time in s after which a client may ask again for a session that another server has just taken over."""
MAX_WAITING = 20_000
"""Entries that wait for a database that does not work. A hundred streams make that many finals in ten minutes, in
about 20 MB. Later ones are lost to the store, not to the readers. More: memory. Less: transcripts lose more."""
MAX_BATCH = 1000
MAX_EXCERPTS = 3
DAY_MS = 86_400_000
EXPIRY_INTERVAL_S = 3600.0
MAX_UNUSED_ROOMS = 1000
"""Rooms that wait for their first part, and as many others without sessions; each takes 0.3 KB. More: strangers fill
the disk. Fewer: they keep others from making links sooner."""
WAITING_DAYS = 30
"""Days for which a room waits for its first part: an invitation goes out some weeks before an event. Later it makes
place for others. Longer: links that nobody uses keep others from making some. Shorter: more invitations are dead."""


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
        cut_off: whether this server alone does not reach a store that it shares with others.
    """

    working: bool
    waiting: int
    failures: int
    lost: int
    behind: bool
    early: int
    cut_off: bool


@dataclass(frozen=True, slots=True)
class RoomWish:
    """A publisher who is to speak in a room shows this.

    Attributes:
        room: its name.
        take_over: whether the part of another publisher is to end.
        former_hash: hash of the resume token of this publisher's last session, which may still run; empty: none.
        resumed: id of the part that it goes on with; empty: it begins one.
        window_ms: how long a part whose server is dead waits for its publisher.
    """

    room: str
    take_over: bool = False
    former_hash: str = ""
    resumed: str = ""
    window_ms: int = 0


class Store(Protocol):
    """The store of the running event loop, between `open` and `close`. Nothing here blocks the loop."""

    async def open(self) -> None:
        """Take the store for this process, and begin to write.

        Raises:
            StoreAway: the store cannot be used now, and this may be tried again.
            StoreUnusable: the store cannot be used. Each message has the reason.
        """

    async def close(self) -> None:
        """Write the waiting entries, for at most `CLOSE_TIMEOUT_S`."""

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        """The tasks that do its work. An exception in one of them is a bug of livecaption."""

    @property
    def figures(self) -> StoreFigures:
        """The state of the store now."""

    # Writing

    # `written` is called, in the order of these calls, once the data is written or nobody must wait for it any more.
    # That may be before they return. What is written twice is there once.

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        """Write a session that begins. Its room is written before it."""

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
        """Append a final, unless the session was deleted meanwhile.

        Args:
            session_id: the session.
            final: its next final.
            seq: number of the final's event.
            checkpoint_ms: the checkpoint with this final, see `checkpoint`; None: it is not known.
            written: called once the final is written.
            shift_ms: time without audio before the final.
            checkpoint_shift_ms: time without audio before the audio behind the checkpoint.
        """

    def translate(self, session_id: SessionId, translation: Translation, seq: int, written: Callable[[], None]) -> None:
        """Append the translation of a final. `seq` is the number of its event."""

    def name_speaker(self, session_id: SessionId, named: SpeakerNamed, written: Callable[[], None]) -> None:
        """Write the name of a speaker, which replaces an older one."""

    def checkpoint(self, session_id: SessionId, checkpoint_ms: int, shift_ms: int = 0) -> None:
        """Note that audio before this point is transcribed or silent, so that a restarted server does not need it.

        `shift_ms` is the time without audio before the rest, which may become less: see `pipeline.arrival`.
        """

    def reopen(self, session_id: SessionId) -> None:
        """Note that the publisher has resumed an interrupted session."""

    def give_up(self, session_id: SessionId) -> None:
        """Note that an interrupted session cannot go on any more."""

    def end(self, session_id: SessionId, duration_ms: int, written: Callable[[], None]) -> None:
        """Note that the session cannot go on any more. If it was never resumed, it stays interrupted."""

    def put_room(self, room: RoomRecord, written: Callable[[], None]) -> None:
        """Write a new room, or what has changed of a known one."""

    async def delete(self, session_id: str) -> bool:
        """Delete a session and its words in the index. Return whether there was one.

        Raises:
            StoreFailed: the session or traces of it are still there.
        """

    async def rename(self, session_id: str, title: str | None, names: Mapping[int, str]) -> bool:
        """Change the title of a session and its words in the index, and names of speakers. Return whether there is one.

        `title`: None: it stays. `names`: the new ones, by the numbers of the speakers.

        Raises:
            StoreFailed: all is as it was, or traces of that are still there.
        """

    # Servers that share a store

    @property
    def has_takeovers(self) -> bool:
        """True if a session that is released can be taken later, here or by another server or process."""

    @property
    def is_shared(self) -> bool:
        """True if other servers may use the store too. Then a stop of this one ends no session that can go on there."""

    def share(
        self,
        asked: Callable[[SessionId], None],
        lost: Callable[[SessionId, bool], None],
        cut_off: Callable[[bool], None],
    ) -> None:
        """Call these when something happens that concerns several servers. Not where one has the store for itself.

        Args:
            asked: called with a session that another server wants to have: it is to be released.
            lost: called with a session that this server does not have any more, whose entries are not written, and
                whether its publisher is at another server.
            cut_off: called with True when this server does not reach the store, and others may; with False once that is
                over.
        """

    async def take(self, session_id: SessionId) -> InterruptedSession | None:
        """Take over a session that can go on from the server that has it or had it. None: there is none.

        Raises:
            Unavailable: another server was faster.
            StoreFailed: the store cannot be read or changed now.
        """

    @property
    def broadcast(self) -> Broadcast | None:
        """The messages of servers about sessions that run; None: no other server can have any."""

    def has_lost(self, session_id: str) -> bool:
        """Return True if the store will never have a session that is here or was, because its beginning is lost."""

    async def running(self, session_id: str) -> RunningSession | None:
        """Return a session whichever server has it, if any does. Where there is no broadcast, return None.

        Raises:
            StoreFailed: the store cannot be read.
        """

    async def events(self, session: SessionRecord) -> Iterable[Numbered]:
        """Return the finals and translations of a `running` session in the order of their events.

        They may be iterated in any thread, once; see `finals`.

        Raises:
            StoreFailed: the store cannot be read.
        """

    def release(self, session_id: SessionId) -> None:
        """Give a session up after all that was written of it, so that another server can have it."""

    def share_rooms(self, asked: Callable[[RoomWish], bool], changed: Callable[[str], None]) -> None:
        """Call `asked` with a room that another server wants to have. It returns whether that server may have it.

        Call `changed` with the name of a room that another server has changed; empty: any may have changed.
        """

    async def take_room(self, room: RoomRecord, wish: RoomWish) -> RoomRecord | None:
        """Let this server have a room, before somebody speaks in it here. A new room is written.

        Returns:
            The room as it is stored; None: no other server could have changed it.

        Raises:
            WrongState: `room_taken`: somebody speaks in it elsewhere, and is not to be replaced.
            Unavailable: another server was faster.
            StoreFailed: the store cannot be read or changed now.
        """

    # Reading. Each raises StoreFailed if the store cannot be read.

    async def session(self, session_id: str) -> SessionRecord | None:
        """Return the session of this id, or None."""

    async def sessions(
        self,
        limit: int,
        before: tuple[int, int] | None = None,
        terms: Sequence[str] = (),
        *,
        with_private: bool = True,
    ) -> list[SessionRecord]:
        """Return the newest sessions that match all terms.

        Args:
            limit: number of sessions, at most.
            before: position of a session; only earlier ones are listed.
            terms: words and phrases of `search.terms`.
            with_private: whether private sessions are listed too.
        """

    async def excerpts(self, sessions: Sequence[SessionRecord], terms: Sequence[str]) -> list[list[Excerpt]]:
        """Return, for each session, excerpts of its first `MAX_EXCERPTS` finals that match one of the terms."""

    async def finals(self, session_id: str) -> Iterable[Final]:
        """Return the finals of a session with their translations, in spoken order; of an unknown one, none.

        They may be iterated in any thread, once: converting those of an hour takes a while.
        """

    async def tracks(self, session_id: str) -> list[str]:
        """Return the languages into which a session was translated."""

    async def interruptions(self) -> list[tuple[SessionId, int]]:
        """Return the sessions that can go on and that this server has, the oldest first.

        With each comes its `interrupted_at_ms`, because most of many wait for nobody any more, and need not be read.
        """

    async def interrupted(self, session_id: SessionId) -> InterruptedSession | None:
        """Return one of `interruptions` with all that was said in it; None: it is none of them any more."""

    async def resumption(self, session_id: str) -> Resumption | None:
        """Return the data that a session goes on with, whichever server has it; None: it cannot go on."""

    async def room(self, name: str) -> RoomRecord | None:
        """Return the room of this name, in which case does not count unless an earlier version has made several."""

    async def parts(self, room: RoomRecord) -> list[SessionRecord]:
        """Return the sessions of the present event of a room, the oldest first."""

    async def n_waiting_rooms(self, oldest_ms: int) -> int:
        """Return the number of rooms that wait for their first part, and were made at `oldest_ms` or later."""


async def written(write: Callable[[Callable[[], None]], None]) -> None:
    """Call a method of the store with its last argument, and wait until that is called."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def set_done() -> None:
        if not done.done():  # the caller may have given up
            done.set_result(None)

    write(set_done)
    await done


def oldest_waiting_ms() -> int:
    """Return the time of the Unix clock since which the rooms were made that still wait for their first part."""
    return now_ms() - WAITING_DAYS * DAY_MS


def now_ms() -> int:
    """Return the time of the Unix clock of this machine."""
    return round(time.time() * 1000)
