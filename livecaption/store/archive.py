"""Read a whole store, and add to one, while servers use it. The settings choose between a file and a database."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from livecaption.events import Final
from livecaption.store.backup import ALL, RestoredSession, ShorterSession, restore, snapshot
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database
from livecaption.store.rows import RoomRecord, SessionRecord


class Transcripts(Protocol):
    """The transcripts of one moment. Each method raises StoreFailed if they cannot be read."""

    async def sessions(self) -> list[SessionRecord]:
        """Return all sessions, the newest first."""

    async def unfinished(self) -> frozenset[str]:
        """Return the ids of the sessions that are open or can go on."""

    async def room(self, name: str) -> RoomRecord | None:
        """Return the room of this name."""

    async def parts(self, room: RoomRecord) -> list[SessionRecord]:
        """Return the sessions of the present event of a room, the oldest first."""

    async def tracks(self, session: SessionRecord) -> list[str]:
        """Return the languages into which a session was translated."""

    async def finals(self, session: SessionRecord) -> Iterable[Final]:
        """Return the finals of a session with their translations, in spoken order."""


class _OfFile:
    """The transcripts in a copy of a file of SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sessions(self) -> list[SessionRecord]:
        return self._database.sessions(ALL)

    async def unfinished(self) -> frozenset[str]:
        return self._database.unfinished()

    async def room(self, name: str) -> RoomRecord | None:
        return self._database.room(name)

    async def parts(self, room: RoomRecord) -> list[SessionRecord]:
        return self._database.parts(room)

    async def tracks(self, session: SessionRecord) -> list[str]:
        return self._database.tracks(session)

    async def finals(self, session: SessionRecord) -> Iterable[Final]:
        return self._database.finals(session)


@asynccontextmanager
async def transcripts_of(config: StoreConfig) -> AsyncIterator[Transcripts]:
    """Yield the transcripts of the store of these settings, which is one.

    Raises:
        ConfigError: a library is missing.
        StoreFailed: there is no store, it is damaged, of another version, or cannot be reached.
    """
    if not config.is_postgresql:
        with snapshot(Path(config.path)) as database:
            yield _OfFile(database)
        return
    with config.importing():
        from livecaption.store.postgresql.reading import reading
    async with reading(config) as transcripts:
        yield transcripts


async def restored_into(config: StoreConfig, file: Path) -> AsyncGenerator[RestoredSession | ShorterSession, None]:
    """Add the sessions and rooms of a backup that the store of these settings does not have; see `backup.restore`.

    Raises:
        ConfigError: a library is missing.
        StoreFailed: the backup cannot be read, or the store cannot be written.
        StoreUnusable: the store cannot be created, or brought to the present schema.
    """
    if not config.is_postgresql:
        for restored in restore(file, Path(config.path)):
            yield restored
        return
    with config.importing():
        from livecaption.store.postgresql import restoring
    async for restored in restoring.restore(file, config):
        yield restored
