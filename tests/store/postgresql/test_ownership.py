"""One server has a database, and the schema is one that all running versions can live with."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from livecaption.errors import StoreFailed, StoreUnusable
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql import ownership, schema
from livecaption.store.postgresql.connecting import connect
from livecaption.store.postgresql.store import PostgresqlStore
from tests.support.postgresql import Cluster
from tests.support.stored import new_session
from tests.support.stores import keep
from tests.support.transcripts import final

ROOT = Path(__file__).parents[3]


@pytest.fixture
def address(cluster: Cluster) -> str:
    return cluster.empty_database()


async def opened(address: str) -> PostgresqlStore:
    store = PostgresqlStore(StoreConfig(address))
    await store.open()
    return store


async def refusal(address: str) -> str:
    with pytest.raises(StoreUnusable) as refused:
        await opened(address)
    return refused.value.message


async def test_a_database_has_one_server_until_that_ends_in_any_way(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import asyncio, sys\nfrom livecaption.store.config import StoreConfig\n"
        "from livecaption.store.postgresql.store import PostgresqlStore\n"
        f"async def main():\n    await PostgresqlStore(StoreConfig({address!r})).open()\n"
        "    print('mine', flush=True)\n    await asyncio.sleep(600)\nasyncio.run(main())"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert await other.stdout.readline() == b"mine\n"
        with monkeypatch.context() as patched:
            patched.setattr(ownership, "LOCK_WAIT_S", 0.1)
            assert "another server keeps its transcripts there" in await refusal(address)
    finally:
        other.kill()
        await other.wait()
    store = await opened(address)
    await store.close()


async def test_the_database_of_another_program_is_not_touched(cluster: Cluster, address: str) -> None:
    cluster.execute("CREATE TABLE letter (text text); SELECT 1")
    assert "it is the database of another program" in await refusal(address)
    assert cluster.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("letter",)]


async def test_a_database_of_a_later_version_is_used_if_that_has_only_added_to_it(
    cluster: Cluster, address: str
) -> None:
    """So servers are replaced one by one: the first new one changes the schema while old ones are running."""
    later = (*schema.MIGRATIONS, schema.Step("ALTER TABLE session ADD COLUMN mood text", is_for_all=True))
    connection = await connect(address)
    async with connection.transaction():
        await ownership.migrate(connection, later)
    await connection.close()
    store = await opened(address)
    await keep(store, new_session(), [final("One.")])
    assert [each.text for each in await store.finals("one")] == ["One."]
    await store.close()
    assert cluster.execute("SELECT version, oldest FROM livecaption") == [(len(later), schema.oldest(later))]


async def test_a_database_of_a_later_version_is_not_touched_if_that_has_changed_it(
    cluster: Cluster, address: str
) -> None:
    later = (*schema.MIGRATIONS, schema.Step("ALTER TABLE session DROP COLUMN title", is_for_all=False))
    connection = await connect(address)
    async with connection.transaction():
        await ownership.migrate(connection, later)
    await connection.close()
    assert "it was written by a later version of livecaption" in await refusal(address)
    assert cluster.execute("SELECT version FROM livecaption") == [(len(later),)]


async def test_a_database_whose_migration_fails_is_left_as_it_was(cluster: Cluster, address: str) -> None:
    connection = await connect(address)
    broken = (replace(schema.MIGRATIONS[0], script="CREATE TABLE one (); CREATE TABLE one ()"),)
    with pytest.raises(Exception, match="already exists"):
        async with connection.transaction():
            await ownership.migrate(connection, broken)
    await connection.close()
    assert cluster.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


async def test_a_database_of_another_encoding_is_refused(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    connection = await connect(cluster.address("latin"))
    with pytest.raises(StoreFailed, match="its encoding is not UTF8"):
        await ownership.migrate(connection)
    await connection.close()


async def test_commits_are_durable_although_an_operator_has_switched_that_off(cluster: Cluster, address: str) -> None:
    connection = await connect(address)
    await connection.execute("SET synchronous_commit = off")
    await ownership.lock(connection)
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await connection.close()
