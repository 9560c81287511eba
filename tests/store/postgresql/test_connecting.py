"""A database that cannot be used is reported in a line, without user, password, or what was said."""

import asyncio
import re
import socket
import ssl

import asyncpg
import pytest

from livecaption.errors import StoreAway, StoreUnusable
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql.connecting import KEEPALIVES, connect, may_pass, reason
from livecaption.store.postgresql.store import PostgresqlStore
from tests.support.cases import for_each
from tests.support.postgresql import PASSWORD, USER, Cluster


async def refusal(address: str, kind: type[StoreUnusable] = StoreUnusable) -> str:
    with pytest.raises(StoreUnusable) as refused:
        await PostgresqlStore(StoreConfig(address)).open()
    assert refused.type is kind
    message = refused.value.message
    assert "\n" not in message
    assert USER not in message.replace("cannot keep transcripts", "").replace('user "livecaption"', "")
    return message


async def test_a_server_notices_a_dead_peer_within_seconds(cluster: Cluster) -> None:
    connection = await connect(cluster.address("postgres"))
    for name, value in KEEPALIVES.items():
        assert int(re.sub(r"\D", "", await connection.fetchval(f"SHOW {name}"))) in (int(value), int(value) // 1000)
    await connection.close()


async def test_a_database_that_is_not_there_is_reported(cluster: Cluster) -> None:
    place = f"postgresql://127.0.0.1:{cluster.port}/nowhere"
    assert await refusal(cluster.address("nowhere")) == (
        f'cannot keep transcripts in {place}: database "nowhere" does not exist (--store)'
    )


async def test_a_wrong_password_is_reported_and_not_shown(cluster: Cluster) -> None:
    message = await refusal(cluster.address("postgres", "wrong-password"))
    assert 'password authentication failed for user "livecaption"' in message
    assert "wrong-password" not in message


async def test_a_server_that_does_not_run_is_reported(unused_tcp_port: int) -> None:
    message = await refusal(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{unused_tcp_port}/postgres", StoreAway)
    assert "nothing answers there" in message


async def test_a_server_that_speaks_no_tls_is_reported_if_it_is_asked_for(cluster: Cluster) -> None:
    message = await refusal(f"{cluster.address('postgres')}?sslmode=require")
    assert "rejected SSL upgrade" in message


async def test_another_program_at_the_port_is_reported() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        await refusal(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable", StoreAway)
    finally:
        server.close()


@pytest.mark.parametrize("rest", ["user:pass#word@host:port/db", "host:99999999/x", "user:a@b:c:d@host:1:2/x"])
async def test_a_wrong_address_is_reported_without_its_parts(rest: str) -> None:
    with pytest.raises(StoreUnusable) as refused:
        await PostgresqlStore(StoreConfig(f"postgresql://{rest}")).open()
    assert not any(part in refused.value.message for part in ("pass", "word", "a@b", "c:d"))


@for_each(
    ("error", "expected"),
    [
        (asyncpg.UniqueViolationError("duplicate key"), "duplicate key"),
        (TimeoutError(), "the database does not answer"),
        (ConnectionRefusedError(111, "Connect call failed"), "nothing answers there"),
        (OSError(113, "No route to host"), "No route to host"),
        (ssl.SSLError(1, "[SSL] wrong version number"), "[SSL] wrong version number"),
        (asyncpg.InterfaceError("connection is closed"), "the connection to the database is lost"),
        (StoreUnusable("--store must be as"), "--store must be as"),
    ],
)
def test_each_failure_has_a_reason(error: Exception, expected: str) -> None:
    assert reason(error) == expected


@for_each(
    ("error", "expected"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), True),
        (socket.gaierror(-3, "Temporary failure in name resolution"), True),
        (TimeoutError(), True),
        (ConnectionError("unexpected connection_lost() call"), True),
        (asyncpg.CannotConnectNowError("the database system is starting up"), True),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), True),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), True),
        (asyncpg.InvalidPasswordError("password authentication failed"), False),
        (asyncpg.InvalidCatalogNameError("database does not exist"), False),
        (asyncpg.InsufficientPrivilegeError("permission denied for schema public"), False),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), False),
        (ConnectionError('PostgreSQL server at "host" rejected SSL upgrade'), False),
    ],
)
def test_a_start_is_worth_another_try_unless_the_database_has_refused_it(error: Exception, expected: bool) -> None:
    assert may_pass(error) is expected


def test_the_values_of_a_row_are_no_reason() -> None:
    error = asyncpg.UniqueViolationError("duplicate key")
    error.detail = "Key (text)=(Secret.) already exists."
    assert "Secret" in str(error)
    assert reason(error) == "duplicate key"
