"""Rooms of servers that share a store: the store decides which of them has a room, see `store.room_claims`.

Within this server, `rooms` decides who speaks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from livecaption.live.session import LiveSession
from livecaption.store.rows import RoomRecord
from livecaption.store.store import RoomWish, Store


class RoomOwnership:
    """The rooms that this server takes, and gives to others. Used by the event loop.

    Args:
        store: None: there are no other servers.
        speaker_in: returns the session whose publisher speaks in the room of this name here, or None.
        end_part: ends a part, because a publisher at another server takes the room over.
    """

    def __init__(
        self,
        store: Store | None,
        speaker_in: Callable[[str], LiveSession | None],
        end_part: Callable[[LiveSession], None],
    ) -> None:
        self._store = store
        self._speaker_in = speaker_in
        self._end_part = end_part
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, room: RoomRecord, wish: RoomWish) -> AsyncIterator[RoomRecord | None]:
        """Have this room while a part begins. It stays here until another server wants it.

        Yields:
            The room as it is stored; None: no other server could have changed it.

        Raises:
            WrongState: `room_taken`: somebody speaks in it elsewhere, and is not to be replaced.
            Unavailable: another server was faster.
            StoreFailed: the store cannot be read or changed now.
        """
        if self._store is None:
            yield None
            return
        async with self._locks.setdefault(key_of(room.name), asyncio.Lock()):
            # Where somebody speaks here, the room is here.
            yield None if self._speaker_in(room.name) else await self._store.take_room(room, wish)

    def give(self, wish: RoomWish) -> bool:
        """Return whether another server may have a room that it asks for. The part that runs here then ends."""
        if (lock := self._locks.get(key_of(wish.room))) is not None and lock.locked():
            return False  # a part begins
        speaker = self._speaker_in(wish.room)
        if speaker is None or speaker.id == wish.resumed:
            return True
        if not wish.take_over and not speaker.tokens.has_publisher_hash(wish.former_hash):
            return False
        self._end_part(speaker)
        return True


def key_of(name: str) -> str:
    """Return the name of a room without case, which does not count."""
    return name.lower()
