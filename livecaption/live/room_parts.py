"""The parts of a room: sessions that run, that ended a moment ago, or that only the store has."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Protocol, Self

from livecaption.live.anywhere import ReadableSession
from livecaption.live.event_log import Message
from livecaption.store.rows import SessionRecord, SessionState


@dataclass(eq=False)
class Part:
    """One session of a room.

    Attributes:
        number: later parts of the room have greater numbers.
        duration_ms: the length of its captions or, if longer, of its audio; as far as it is known.
        epoch: the epoch of its events, see `live.event_log`; once only the store has it, one that always stays.
        end_seq: the number of its last event; until that is known, of its snapshot.
        deleted: whether its transcript was deleted, so that it is not listed. Readers follow it as long as it runs.
        snapshot: all its captions from the store, once they are read for a reader; None: there are none.
    """

    number: int
    id: str
    title: str
    language: str | None
    started_at_ms: int
    duration_ms: int = 0
    state: SessionState = SessionState.OPEN
    deleted: bool = False
    epoch: str = field(init=False)
    end_seq: int = 0
    snapshot: "asyncio.Future[Message | None] | None" = None

    def __post_init__(self) -> None:
        # A reader that has all of an ended room is recognized after any time, and does not read it again and again.
        self.epoch = hashlib.sha256(self.id.encode()).hexdigest()[:8]

    @classmethod
    def of(cls, number: int, session: ReadableSession) -> Self:
        """Return the part that this session is."""
        about = session.about
        title, deleted = session.hub.title, session.hub.forgotten
        return cls(number, about.id, title, about.language, about.started_at_ms, deleted=deleted)

    @classmethod
    def stored(cls, number: int, record: SessionRecord) -> Self:
        """Return the part that a stored session is."""
        title, language = record.title, record.language
        return cls(number, record.id, title, language, record.started_at_ms, record.duration_ms, record.state)

    def note(self, session: ReadableSession) -> None:
        """Note what is to be remembered when the session is forgotten."""
        hub = session.hub
        self.epoch = hub.epoch
        self.duration_ms = max(self.duration_ms, hub.end_ms, session.received_ms)
        self.state = SessionState.ENDED if hub.ended else SessionState.OPEN
        if hub.ended:
            self.end_seq = hub.last_seq


class Log(Protocol):
    """The events of one part."""

    @property
    def ended(self) -> bool:
        """True if nothing more happens in the part."""

    @property
    def closed(self) -> bool:
        """True if nothing follows from this server. Unless `ended`, the part goes on in another one."""

    def read(self, seq: int | None) -> tuple[list[Message], int]:
        """Return the messages for a reader at `seq` (None: before all), and where the reader is behind them."""


@dataclass(frozen=True, slots=True)
class KeptLog:
    """The events of a part that is over: a snapshot, or nothing."""

    snapshot: Message | None
    end_seq: int
    ended: bool = True
    closed: bool = True

    def read(self, seq: int | None) -> tuple[list[Message], int]:
        """See `Log`."""
        news = [] if self.snapshot is None or seq == self.end_seq else [self.snapshot]
        return news, self.end_seq
