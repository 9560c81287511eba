"""The sign of life of one server among those that share a database, and what they send each other.

A server that runs holds a lock of PostgreSQL, whose key follows from the id of the server. The lock is released however
the server ends: at once with its process, and within seconds with its machine (`connecting.KEEPALIVES`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from livecaption.errors import LivecaptionError
from livecaption.store.asking import Answers
from livecaption.store.postgresql import ownership
from livecaption.store.postgresql.connecting import FAILURES, connect, is_down
from livecaption.store.postgresql.messages import (
    ROOMS,
    Message,
    Released,
    RoomAnswer,
    Wanted,
    WantedRoom,
    channel,
    decode,
    encode,
    key,
)
from livecaption.store.postgresql.reach import Reach
from livecaption.store.room_claims import Outcome
from livecaption.store.store import RoomWish

BEAT_S = 1.0
"""Time in s between two looks at the connection. Longer: a lost lock is taken again later. Shorter: more statements."""
BEAT_TIMEOUT_S = 1.5
RECONNECT_TIMEOUT_S = 3.0
"""Time-outs in s of a look, and of one over a new connection, so that a cut is noticed within 7 s. Longer: later.
Shorter: a slow network seems to be cut."""
Read = Callable[[Callable[[Any], Awaitable[Any]]], Awaitable[Any]]
"""Asks a question on a connection that reads; see `Readable`."""


class Presence:
    """The presence of this server. Used by the event loop.

    Args:
        url: the address of the database.
        asked: called with a session that another server wants to have, and the id of that server.
        asked_for_room: the same for a room.
        room_changed: called with the name of a room that another server has changed; empty: any may have changed.
        back: called with a connection once the database is reached again.
        cut_off: called when this server alone does not reach the database any more, and with False when it does.

    Attributes:
        is_cut_off: whether this server alone does not reach the database.
        task: keeps the lock.
    """

    def __init__(
        self,
        url: str,
        asked: Callable[[str, UUID], None],
        asked_for_room: Callable[[RoomWish, UUID], None],
        room_changed: Callable[[str], None],
        back: Callable[[Any], Awaitable[None]],
        cut_off: Callable[[bool], None],
    ) -> None:
        self.id = uuid4()
        self.is_cut_off = False
        self._url = url
        self._asked = asked
        self._asked_for_room = asked_for_room
        self._room_changed = room_changed
        self._answers = Answers()
        self._back = back
        self._cut_off = cut_off
        self._connection: Any = None

    async def start(self) -> None:
        """Show that this server runs.

        Raises:
            One of `connecting.FAILURES`.
        """
        self._connection = await self._connected()
        self._reach = Reach(_now_s(), await ownership.n_others(self._connection, self.id))
        self.task = asyncio.create_task(self._keep())

    def note_reached(self) -> None:
        """Note that the database has answered, over any connection."""
        self._reach.note_reached(_now_s())

    async def close(self) -> None:
        """Show that this server does not run any more."""
        self.task.cancel()
        await asyncio.wait({self.task})
        self._connection.terminate()

    async def ask_for(self, session_id: str, owner: UUID, read: Read) -> None:
        """Ask a server to give up a session, and wait until it has, for at most `asking.ASK_S`, unless it is dead."""
        await self._ask(session_id, Wanted(session_id, self.id), owner, read)

    async def ask_for_room(self, wish: RoomWish, owner: UUID, read: Read) -> Outcome:
        """Ask a server to give up a room, and wait for its answer, for at most `asking.ASK_S`, unless it is dead."""
        return await self._ask(f"room {wish.room}", WantedRoom(wish, self.id), owner, read)

    async def _ask(self, about: str, message: Message, owner: UUID, read: Read) -> Outcome:
        async def send(connection: Any) -> bool:
            if await ownership.is_dead(connection, owner):
                return False
            await connection.execute("SELECT pg_notify($1, $2)", channel(owner), encode(message))
            return True

        with self._answers.expected(about) as answer:
            if not await read(send):
                return Outcome.DEAD
            return await answer()  # without a connection: a server that hangs may have hundreds of sessions

    async def _connected(self) -> Any:
        connection = await connect(self._url)
        try:
            # Shared, so that it need not wait until PostgreSQL has noticed the loss of an earlier connection.
            await connection.execute("SELECT pg_advisory_lock_shared($1)", key(self.id))
            await connection.add_listener(channel(self.id), self._receive)
            await connection.add_listener(ROOMS, self._note_room)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _keep(self) -> None:
        """Look after the connection, and make a new one when it is lost."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                if self._connection.is_closed():
                    async with asyncio.timeout(RECONNECT_TIMEOUT_S):
                        self._connection = await self._connected()
                        await self._back(self._connection)
                    # What was sent meanwhile is lost. Not at once: a fault in a session must not end this task.
                    loop.call_soon(self._room_changed, "")
                async with asyncio.timeout(BEAT_TIMEOUT_S):
                    n_others = await ownership.n_others(self._connection, self.id)
                self._reach.note_others(n_others)
                self.note_reached()
            except (*FAILURES, LivecaptionError) as error:
                self._connection.terminate()
                self._reach.note_failure(is_down=is_down(error))
            is_cut_off = self._reach.is_cut_off(_now_s())
            if is_cut_off != self.is_cut_off:
                self.is_cut_off = is_cut_off
                loop.call_soon(self._cut_off, is_cut_off)

    def _receive(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        match decode(payload):
            case Wanted(session_id, by):
                self._asked(session_id, by)
            case Released(session_id):
                self._answers.note(session_id, Outcome.RELEASED)
            case WantedRoom(wish, by):
                self._asked_for_room(wish, by)
            case RoomAnswer(room, outcome):
                self._answers.note(f"room {room}", outcome)

    def _note_room(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        server, _, name = payload.partition(" ")
        if server != self.id.hex:
            self._room_changed(name)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
