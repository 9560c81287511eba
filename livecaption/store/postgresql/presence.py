"""The sign of life of one server among those that share a database, and what they send each other.

A server that runs holds a lock of PostgreSQL, whose key follows from the id of the server. The lock is released however
the server ends: at once with its process, and within seconds with its machine (`connecting.KEEPALIVES`).
"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from livecaption.store.postgresql.connecting import FAILURES, connect
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
from livecaption.store.room_claims import Outcome
from livecaption.store.store import RoomWish

BEAT_S = 1.0
"""Time in s between two looks at the connection. Longer: a lost lock is taken again later. Shorter: more statements."""
BEAT_TIMEOUT_S = 3.0
ASK_S = 0.3
"""Time in s in which another server gives up a session or room that is asked for. Longer: publishers wait longer where
that server hangs. Shorter: a busy server loses what it has not stored yet, and the publisher sends it again."""


class Presence:
    """The presence of this server. Used by the event loop.

    Args:
        url: the address of the database.
        asked: called with a session that another server wants to have, and the id of that server.
        asked_for_room: the same for a room.
        room_changed: called with the name of a room that another server has changed; empty: any may have changed.
    """

    def __init__(
        self,
        url: str,
        asked: Callable[[str, UUID], None],
        asked_for_room: Callable[[RoomWish, UUID], None],
        room_changed: Callable[[str], None],
    ) -> None:
        self.id = uuid4()
        self._url = url
        self._asked = asked
        self._asked_for_room = asked_for_room
        self._room_changed = room_changed
        self._awaited: dict[str, asyncio.Future[Outcome]] = {}  # by session or room
        self._connection: Any = None

    async def start(self) -> None:
        """Show that this server runs.

        Raises:
            One of `connecting.FAILURES`.
        """
        self._connection = await self._connected()
        self._beat = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Show that this server does not run any more."""
        self._beat.cancel()
        await asyncio.wait({self._beat})
        self._connection.terminate()

    async def ask_for(self, session_id: str, owner: UUID, connection: Any) -> None:
        """Ask another server to give up a session, and wait until it has, for at most `ASK_S`."""
        await self._ask(session_id, Wanted(session_id, self.id), owner, connection)

    async def ask_for_room(self, wish: RoomWish, owner: UUID, connection: Any) -> Outcome:
        """Ask another server to give up a room, and wait for its answer, for at most `ASK_S`."""
        return await self._ask(f"room {wish.room}", WantedRoom(wish, self.id), owner, connection)

    async def _ask(self, about: str, message: Message, owner: UUID, connection: Any) -> Outcome:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._awaited[about] = answered
        try:
            await connection.execute("SELECT pg_notify($1, $2)", channel(owner), encode(message))
            async with asyncio.timeout(ASK_S):
                return await answered
        except TimeoutError:
            return Outcome.SILENT
        finally:
            del self._awaited[about]

    async def _connected(self) -> Any:
        connection = await connect(self._url)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", key(self.id))
            await connection.add_listener(channel(self.id), self._receive)
            await connection.add_listener(ROOMS, self._note_room)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _keep(self) -> None:
        """Look after the connection, and make a new one when it is lost."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                async with asyncio.timeout(BEAT_TIMEOUT_S):
                    if self._connection.is_closed():
                        self._connection = await self._connected()
                        self._room_changed("")  # what was sent meanwhile is lost
                    await self._connection.execute("SELECT 1")
            except FAILURES:
                self._connection.terminate()

    def _receive(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        match decode(payload):
            case Wanted(session_id, by):
                self._asked(session_id, by)
            case Released(session_id):
                self._note_answer(session_id, Outcome.RELEASED)
            case WantedRoom(wish, by):
                self._asked_for_room(wish, by)
            case RoomAnswer(room, outcome):
                self._note_answer(f"room {room}", outcome)

    def _note_answer(self, about: str, outcome: Outcome) -> None:
        answered = self._awaited.get(about)
        if answered is not None and not answered.done():
            answered.set_result(outcome)

    def _note_room(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        server, _, name = payload.partition(" ")
        if server != self.id.hex:
            self._room_changed(name)
