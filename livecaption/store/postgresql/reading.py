"""Read all transcripts of a database as they are at one moment, and change nothing."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from livecaption.errors import StoreFailed
from livecaption.events import Final
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql import ownership, questions
from livecaption.store.postgresql.connecting import FAILURES, connect, reason
from livecaption.store.rows import RoomRecord, SessionRecord

ALL = 2**62
"""A limit of a list that has no limit."""


class _OfDatabase:
    """The transcripts that a transaction reads; see `archive.Transcripts`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def sessions(self) -> list[SessionRecord]:
        return await questions.sessions(self._connection, ALL, None, (), with_private=True)

    async def unfinished(self) -> frozenset[str]:
        return await questions.unfinished(self._connection)

    async def room(self, name: str) -> RoomRecord | None:
        return await questions.room(self._connection, name)

    async def parts(self, room: RoomRecord) -> list[SessionRecord]:
        return await questions.parts(self._connection, room)

    async def tracks(self, session: SessionRecord) -> list[str]:
        return await questions.tracks(self._connection, session.id)

    async def finals(self, session: SessionRecord) -> Iterable[Final]:
        return await questions.finals(self._connection, session.id)


@asynccontextmanager
async def reading(config: StoreConfig) -> AsyncIterator[_OfDatabase]:
    """Yield the transcripts of a database.

    Raises:
        StoreFailed: it cannot be reached or read, is none of livecaption, or of another version.
        StoreUnusable: its address is wrong.
    """
    with reported(f"cannot read {config.place}"):
        connection = await connect(config.path)
        try:
            await ownership.check_version(connection)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield _OfDatabase(connection)
        finally:
            connection.terminate()


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Raise `StoreFailed` for all failures of the database in this block, with what could not be done."""
    try:
        yield
    except (*FAILURES, StoreFailed) as error:
        raise StoreFailed(f"{what}: {reason(error)}") from None
