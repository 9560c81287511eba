"""Take sessions of other servers. All that are wanted by the time that the database is free are taken together.

After the stop of a server, hundreds of publishers come at once, and a transaction for each of them would take seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from livecaption.store.postgresql import ownership, questions
from livecaption.store.postgresql.ownership import Wishes
from livecaption.store.rows import InterruptedSession
from livecaption.store.store import now_ms

Ask = Callable[[Callable[[Any], Awaitable[Any]]], Awaitable[Any]]
Taken = Mapping[str, InterruptedSession]


class Taking:
    """The sessions that this server is about to take. Used by the event loop.

    Args:
        server: the id of this server.
        do: does something in a transaction, once the database is free.
        read: asks a question on a connection that reads.
        taken: called with the new generations of sessions that are this server's now, by their ids.
    """

    def __init__(self, server: UUID, do: Ask, read: Ask, taken: Callable[[Mapping[str, int]], None]) -> None:
        self._server = server
        self._do = do
        self._read = read
        self._taken = taken
        self._wishes: Wishes | None = None  # those that can still go along
        self._round: asyncio.Future[Taken]

    async def take(self, session_id: str, owner: UUID | None, generation: int) -> InterruptedSession | None:
        """Take a session, of which this owner and generation are known. None: they have changed.

        Raises:
            StoreFailed: it cannot be done now.
        """
        if self._wishes is None:
            self._wishes = {}
            self._round = asyncio.ensure_future(self._take(self._wishes))
            self._round.add_done_callback(lambda round_: round_.cancelled() or round_.exception())
        self._wishes[session_id] = owner, generation
        return (await asyncio.shield(self._round)).get(session_id)  # one that gives up leaves the others their session

    async def _take(self, wishes: Wishes) -> Taken:
        try:
            generations = await self._do(partial(self._take_now, wishes))
        finally:
            self._close(wishes)
        self._taken(generations)
        # Not in the transaction, because finals wait for it.
        found = await self._read(partial(questions.interrupted, ids=list(generations), now_ms=now_ms()))
        return {session.record.id: session for session in found}

    def _take_now(self, wishes: Wishes, connection: Any) -> Awaitable[dict[str, int]]:
        self._close(wishes)
        return ownership.take(connection, self._server, wishes)

    def _close(self, wishes: Wishes) -> None:
        """Let no more wishes come to these."""
        if self._wishes is wishes:
            self._wishes = None
