"""Decide which server has a session. PostgreSQL's rows are the only place where that is decided.

`session.owner` is the server that has it, and `session.generation` grows each time another one gets it. So a server
that has lost a session finds another generation, and writes nothing: see `writer`. A session without an owner has still
the generation of the last one, which may have it back as long as no other server has taken it.
"""

import asyncio
import logging
from collections.abc import Mapping, Set
from typing import Any
from uuid import UUID

import asyncpg

from livecaption.errors import StoreFailed
from livecaption.store.postgresql import schema
from livecaption.store.postgresql.messages import key
from livecaption.store.postgresql.statements import NOW_MS, WITH_PUBLISHER
from livecaption.store.schema import APPLICATION_ID

LOCK_TIMEOUT_MS = 300
"""Wait in ms of a migration for those who use a table, and of all others for the migration. Longer: captions are sent
before they are stored. Shorter: it takes more tries where many write."""
LOCK_PAUSE_S = 2.0
"""Time in s between two tries. Longer: a start takes longer. Shorter: the others wait more often."""

logger = logging.getLogger(__name__)

_LATER = "it was written by a later version of livecaption"
_INTERRUPTED = f"interrupted_at_ms = coalesce(interrupted_at_ms, {NOW_MS})"


async def prepare(connection: Any) -> None:
    """Let this connection write what lasts. An operator may have switched that off for other programs.

    Raises:
        One of `connecting.FAILURES`.
    """
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


async def migrate(connection: Any, steps: tuple[schema.Step, ...] = schema.MIGRATIONS) -> None:
    """Bring the database to the present schema. Use it in a transaction.

    Other servers that start wait until that is over. Those that run go on, also while somebody reads for long.

    Raises:
        StoreFailed: it belongs to another program, or a later version that this one cannot live with.
    """
    await connection.execute(f"SELECT pg_advisory_xact_lock({APPLICATION_ID})")
    if await connection.fetchval("SHOW server_encoding") != "UTF8":
        raise StoreFailed("its encoding is not UTF8: createdb --encoding UTF8 --template template0")
    version = oldest = 0
    if await connection.fetchval("SELECT to_regclass('livecaption')"):
        version, oldest = await connection.fetchrow("SELECT version, oldest FROM livecaption")
    elif await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"):
        raise StoreFailed("it is the database of another program")
    else:
        await connection.execute("CREATE TABLE livecaption (version bigint NOT NULL, oldest bigint NOT NULL)")
        await connection.execute("INSERT INTO livecaption VALUES (0, 0)")
    if oldest > len(steps):
        raise StoreFailed(_LATER)
    has_reported = False
    while version < len(steps):
        try:
            async with connection.transaction():  # a savepoint, which gives all locks back where one is not to be had
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                for step in steps[version:]:
                    await connection.execute(step.script)
                await connection.execute(
                    "UPDATE livecaption SET version = $1, oldest = greatest(oldest, $2)",
                    len(steps),
                    schema.oldest(steps),
                )
            return
        except asyncpg.LockNotAvailableError:
            if not has_reported:
                logger.warning("the tables are in use, perhaps by pg_dump: they are changed once that is over")
            has_reported = True
        await asyncio.sleep(LOCK_PAUSE_S)


async def check_version(connection: Any) -> None:
    """Check that the database can be read as it is.

    Raises:
        StoreFailed: it has no transcripts, or those of another version.
    """
    if not await connection.fetchval("SELECT to_regclass('livecaption')"):
        raise StoreFailed("there are no transcripts")
    version, oldest = await connection.fetchrow("SELECT version, oldest FROM livecaption")
    if oldest > schema.VERSION:
        raise StoreFailed(_LATER)
    if version < schema.VERSION:
        raise StoreFailed("it was written by an earlier version of livecaption: start a server of this one first")


async def dead_servers(connection: Any) -> set[UUID]:
    """Return the servers that have sessions, and no lock any more."""
    keys = await _held_keys(connection)
    owners = await connection.fetch("SELECT DISTINCT owner FROM session WHERE owner IS NOT NULL")
    return {owner for (owner,) in owners if key(owner) not in keys}


async def is_dead(connection: Any, server: UUID) -> bool:
    """Return whether a server has no lock any more."""
    return key(server) not in await _held_keys(connection)


async def _held_keys(connection: Any) -> set[int]:
    """Return the keys of all locks that servers hold."""
    held = await connection.fetch(
        "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 "
        "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return {number for (number,) in held}


async def n_others(connection: Any, server: UUID) -> int:
    """Return the number of other servers that use the database."""
    return len(await _held_keys(connection) - {key(server), APPLICATION_ID})  # the second is the lock of a migration


async def interrupt(connection: Any, servers: set[UUID]) -> None:
    """Note that these servers have died over their sessions. One that lives after all may `reclaim` them."""
    await connection.execute(
        "WITH orphaned AS (UPDATE session SET owner = NULL, state = 'interrupted' "
        f"WHERE owner = ANY($1::uuid[]) RETURNING number) UPDATE resumption SET {_INTERRUPTED} "
        "FROM orphaned WHERE session = orphaned.number",
        list(servers),
    )


async def reclaim(connection: Any, server: UUID, generations: Mapping[str, int], waiting: Set[str]) -> None:
    """Let a server that was taken for dead have those of its sessions that no other one has taken.

    `generations`: those of its sessions in this server. `waiting`: those of them whose publishers were not here yet.
    """
    await connection.execute(
        "WITH back AS (UPDATE session SET owner = $1, state = CASE WHEN is_open THEN 'open' ELSE state END "
        "FROM unnest($2::text[], $3::bigint[], $4::boolean[]) AS mine (id, generation, is_open) "
        "WHERE session.id = mine.id AND session.generation = mine.generation "
        "AND owner IS NULL AND state = 'interrupted' RETURNING number, is_open) "
        "UPDATE resumption SET interrupted_at_ms = NULL FROM back WHERE session = back.number AND is_open",
        server,
        list(generations),
        list(generations.values()),
        [session_id not in waiting for session_id in generations],
    )


async def moved_on(connection: Any, generations: Mapping[str, int]) -> list[tuple[str, int, bool]]:
    """Return those of a server's sessions that it does not have any more.

    `generations`: those of its sessions in this server. With each one it returns that, and whether its publisher has
    gone along, or it was ended.
    """
    found = await connection.fetch(
        f"SELECT id, mine.generation, {WITH_PUBLISHER} FROM session "
        "JOIN unnest($1::text[], $2::bigint[]) AS mine (id, generation) USING (id) "
        "WHERE session.generation <> mine.generation",
        list(generations),
        list(generations.values()),
    )
    return list(map(tuple, found))


async def adopt(connection: Any, server: UUID) -> dict[str, int]:
    """Let a server have all sessions that can go on and that no server has. Return their generations."""
    adopted = await connection.fetch(
        "UPDATE session SET owner = $1, generation = generation + 1 "
        "WHERE owner IS NULL AND state = 'interrupted' AND number IN (SELECT session FROM resumption) "
        "RETURNING id, generation",
        server,
    )
    return dict(adopted)


async def owner_of(connection: Any, session_id: str) -> tuple[UUID | None, int] | None:
    """Return the server that has a session, and the generation. None: there is no such session that can go on."""
    row = await connection.fetchrow(
        "SELECT owner, generation FROM session JOIN resumption ON session = number WHERE id = $1", session_id
    )
    return tuple(row) if row else None


async def take(connection: Any, session_id: str, server: UUID, owner: UUID | None, generation: int) -> bool:
    """Let a server have a session, of which this owner and generation are known. Return False if they have changed.

    An owner that has given it up since, as it was asked to, is no such change. One that has ended it is.
    """
    taken = await connection.fetchval(
        "UPDATE session SET owner = $2, state = 'interrupted', generation = generation + 1 "
        "WHERE id = $1 AND generation = $4 AND (owner IS NULL OR owner = $3) "
        "AND number IN (SELECT session FROM resumption) RETURNING number",
        session_id,
        server,
        owner,
        generation,
    )
    if taken is not None:
        await connection.execute(f"UPDATE resumption SET {_INTERRUPTED} WHERE session = $1", taken)
    return taken is not None
