"""The implementations of the store, for tests of what all of them promise."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from types import ModuleType

from livecaption.events import Final
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql.connecting import connect
from livecaption.store.rows import InterruptedSession, NewSession
from livecaption.store.store import Store, written
from tests.support.eventually import TIMEOUT_FACTOR, eventually
from tests.support.stored import ENDED_WITH_AUDIO


@dataclass(frozen=True)
class Place:
    """A place of transcripts, and the implementation that keeps them there.

    Attributes:
        path: the place, as in the settings.
        kind: the class of the store.
        module: the module that has the class.
    """

    path: str
    kind: Callable[..., Store]
    module: ModuleType

    @asynccontextmanager
    async def opened(self, keep_days: float = 0, **times_s: float) -> AsyncIterator[Store]:
        """Open the store. At the end its server is gone, without a word to the sessions that are open."""
        store = self.kind(StoreConfig(self.path, keep_days), **{"max_hold_s": 60, **times_s})
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def end_with_audio(self, *sessions: str) -> None:
        """Let these sessions have ended with their audio, and not when the test has ended them."""
        statements = [f"UPDATE session SET {ENDED_WITH_AUDIO} WHERE id = '{session}'" for session in sessions]
        if not StoreConfig(self.path).is_postgresql:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
                connection.executescript(";".join(statements))
            return
        connection = await connect(self.path)
        await connection.execute(";".join(statements))
        await connection.close()


def ignore() -> None:
    """A callback of a caller that does not wait."""


async def keep(store: Store, session: NewSession, finals: Sequence[Final] = (), *, ended: bool = True) -> None:
    """Write a complete session, and wait until it is there."""
    store.begin(session, ignore)
    for seq, final in enumerate(finals, start=2):
        store.append(session.id, final, seq, None, ignore)
    if ended:
        store.end(session.id, finals[-1].end_ms if finals else 0, ignore)
    await all_written(store)


async def read_interrupted(store: Store) -> list[InterruptedSession]:
    """Return all sessions that this server may go on with, the oldest first."""
    read = [await store.interrupted(session_id) for session_id, _ in await store.interruptions()]
    return [session for session in read if session is not None]


async def all_written(store: Store) -> None:
    """Wait until all that was submitted is written."""
    async with asyncio.timeout(20 * TIMEOUT_FACTOR):
        await written(lambda call: store.end("nobody", 0, call))
    await eventually(lambda: store.figures.waiting == 0, within_s=20)  # it may be behind
