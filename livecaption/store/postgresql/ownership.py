"""Take a database for one server: create its tables, lock it, and mark what an earlier server has left."""

import time
from typing import Any

import asyncpg

from livecaption.errors import StoreFailed
from livecaption.store.postgresql import schema
from livecaption.store.schema import APPLICATION_ID

LOCK_WAIT_S = 3.0
"""Wait in s for the server that has the database. Longer: a second one is refused later. Shorter: a server that is
started again after a kill finds the lock of the one before."""
OTHER_SERVER = "another server keeps its transcripts there"


async def lock(connection: Any) -> None:
    """Let this connection have the database for its server, as long as it lasts.

    Raises:
        StoreFailed: another server has it.
        One of `connecting.FAILURES`.
    """
    # Not by `set_config(…, true)`, because a session-level lock needs no transaction.
    await connection.execute(f"SET lock_timeout = {round(LOCK_WAIT_S * 1000)}")
    try:
        await connection.execute(f"SELECT pg_advisory_lock({APPLICATION_ID})")
    except asyncpg.LockNotAvailableError:
        raise StoreFailed(OTHER_SERVER) from None
    await connection.execute("RESET lock_timeout")
    # An operator may have switched it off for other programs. Here it is what "written" means.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


async def take(connection: Any) -> None:
    """Bring the database to the present schema, and mark sessions that were left open. The connection has the lock.

    Raises:
        StoreFailed: the database cannot be used.
        One of `connecting.FAILURES`.
    """
    async with connection.transaction():
        await migrate(connection)
        await connection.execute("UPDATE session SET state = 'interrupted' WHERE state = 'open'")
        # Before any of their events is sent, because event numbers of two generations must differ.
        await connection.execute(
            "UPDATE resumption SET generation = generation + 1, interrupted_at_ms = coalesce(interrupted_at_ms, $1)",
            round(time.time() * 1000),
        )


async def migrate(connection: Any, steps: tuple[schema.Step, ...] = schema.MIGRATIONS) -> None:
    """Bring the database to the present schema. Use it in a transaction.

    Raises:
        StoreFailed: it belongs to another program, or a later version that this one cannot live with.
    """
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
        raise StoreFailed("it was written by a later version of livecaption")
    if version < len(steps):
        for step in steps[version:]:
            await connection.execute(step.script)
        await connection.execute(
            "UPDATE livecaption SET version = $1, oldest = greatest(oldest, $2)", len(steps), schema.oldest(steps)
        )
