"""The sign of life of one server among those that share a database, and what they send each other.

A server that runs holds a lock of PostgreSQL, whose key follows from the id of the server. The lock is released however
the server ends: at once with its process, and within seconds with its machine (`connecting.KEEPALIVES`).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from livecaption.store.postgresql.connecting import FAILURES, connect
from livecaption.store.postgresql.messages import Released, Wanted, channel, decode, encode, key

BEAT_S = 1.0
"""Time in s between two looks at the connection. Longer: a lost lock is taken again later. Shorter: more statements."""
BEAT_TIMEOUT_S = 3.0
ASK_S = 0.3
"""Time in s in which another server gives up a session that is asked for. Longer: a publisher waits longer where that
server hangs. Shorter: a busy server loses what it has not stored yet, and the publisher sends it again."""


class Presence:
    """The presence of this server. Used by the event loop.

    Args:
        url: the address of the database.
        asked: called with a session that another server wants to have, and the id of that server.
    """

    def __init__(self, url: str, asked: Callable[[str, UUID], None]) -> None:
        self.id = uuid4()
        self._url = url
        self._asked = asked
        self._released: dict[str, asyncio.Event] = {}
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
        released = self._released[session_id] = asyncio.Event()
        try:
            message = encode(Wanted(session_id, self.id))
            await connection.execute("SELECT pg_notify($1, $2)", channel(owner), message)
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_S):
                    await released.wait()
        finally:
            del self._released[session_id]

    async def _connected(self) -> Any:
        connection = await connect(self._url)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", key(self.id))
            await connection.add_listener(channel(self.id), self._receive)
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
                    await self._connection.execute("SELECT 1")
            except FAILURES:
                self._connection.terminate()

    def _receive(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        match decode(payload):
            case Wanted(session_id, by):
                self._asked(session_id, by)
            case Released(session_id) if session_id in self._released:
                self._released[session_id].set()
