"""The sources of sinks: a room with all parts that follow in it, or one session.

    source   exists from           is over
    room     any time              when the server stops
    session  its first event       with its last one

Both are read as a `Room`, because each session is a room of its own too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from livecaption.errors import UnknownSession
from livecaption.live.room import Room
from livecaption.live.room_state import RoomState
from livecaption.live.rooms import Rooms
from livecaption.live.session import LiveSession
from livecaption.recognition import logged_id

Key = tuple[str, str]
"""The kind of a source and its name or id, which distinguish it from all others."""


def room_key(name: str) -> Key:
    """Return the key of a room. The case of its name does not count."""
    return "room", name.lower()


def session_key(session_id: str) -> Key:
    """Return the key of a session."""
    return "session", session_id


class Source(Protocol):
    """The captions that a sink reads."""

    @property
    def key(self) -> Key:
        """Its key."""

    @property
    def logged(self) -> Mapping[str, str]:
        """The session and the room of its lines in the log."""

    @property
    def is_over(self) -> bool:
        """True if nothing more follows."""

    @property
    def is_shared(self) -> bool:
        """True if other processes of the server have it in turn, with sinks of their own."""

    async def open(self) -> Room | None:
        """Return the room to read; None: there is none that goes on.

        Raises:
            StoreFailed: the store cannot be read.
        """


@dataclass(frozen=True, slots=True)
class RoomSource:
    """All parts of a room that need not exist yet."""

    name: str
    rooms: Rooms
    is_shared: bool = False

    @property
    def key(self) -> Key:
        """See `Source`."""
        return room_key(self.name)

    @property
    def logged(self) -> Mapping[str, str]:
        """See `Source`."""
        return {"session": "", "room": logged_id(self.name)}

    @property
    def is_over(self) -> bool:
        """See `Source`."""
        return self.rooms.closed

    async def open(self) -> Room | None:
        """See `Source`. One that is shared is read while somebody speaks in it here."""
        if self.is_shared and self.rooms.speaker_in(self.name) is None:
            return None
        return await _going_on(self.rooms, self.name)


@dataclass(frozen=True, slots=True)
class SessionSource:
    """One session, also while its publisher is away."""

    session: LiveSession
    rooms: Rooms

    @property
    def key(self) -> Key:
        """See `Source`."""
        return session_key(self.session.id)

    @property
    def logged(self) -> Mapping[str, str]:
        """See `Source`."""
        return {"session": logged_id(self.session.id), "room": logged_id(self.session.about.room or "")}

    @property
    def is_over(self) -> bool:
        """See `Source`."""
        return self.session.hub.closed or self.rooms.closed

    @property
    def is_shared(self) -> bool:
        """See `Source`. Each session lives in one process, and its sinks do too."""
        return False

    async def open(self) -> Room | None:
        """See `Source`."""
        return await _going_on(self.rooms, self.session.id)


async def _going_on(rooms: Rooms, name: str) -> Room | None:
    try:
        room = await rooms.find(name)
    except UnknownSession:
        return None
    return None if room.state is RoomState.ENDED else room
