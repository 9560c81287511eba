"""Sessions that many publishers want at once come to a server together, and none waits for another server's silence."""

import asyncio

import pytest

from livecaption.errors import StoreFailed
from livecaption.recognition import SessionId
from livecaption.store import asking
from livecaption.store.postgresql.connecting import connect
from livecaption.store.postgresql.store import MAX_READING
from livecaption.store.rows import InterruptedSession
from tests.store.postgresql.test_ownership import RESUMPTION, Server, server
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.stored import new_session
from tests.support.stores import keep
from tests.support.transcripts import final

SESSIONS = [SessionId(f"session {n}") for n in range(MAX_READING + 3)]


async def begin(to: Server) -> None:
    """Let a server begin these sessions, with a final each."""
    for session_id in SESSIONS:
        await keep(to.store, new_session(session_id, resumption=RESUMPTION), [final(f"Of {session_id}.")], ended=False)


def taking(by: Server) -> list[asyncio.Future[InterruptedSession | None]]:
    return [asyncio.ensure_future(by.store.take(session_id)) for session_id in SESSIONS]


async def test_sessions_that_are_wanted_at_once_are_taken_in_one_transaction(cluster: Cluster, address: str) -> None:
    is_free = asyncio.Event()
    async with server(address) as one, server(address) as other:
        await begin(one)
        busy = asyncio.ensure_future(other.store._do(lambda _: is_free.wait()))
        wanted = taking(other)
        await eventually(lambda: len(other.store._taking._wishes or ()) == len(SESSIONS))
        is_free.set()
        taken = await asyncio.gather(*wanted)
        await busy
        assert [each.record.id for each in taken] == SESSIONS
        assert [each.text for session in taken for each in session.finals] == [f"Of {name}." for name in SESSIONS]
        assert [session.transcribed_ms for session in taken] == [{None: session.finals[0].end_ms} for session in taken]
        [(n_transactions,)] = cluster.execute("SELECT count(DISTINCT xmin::text) FROM session")
        assert n_transactions == 1
        assert other.store._generations == dict.fromkeys(SESSIONS, 1)


async def test_a_server_that_hangs_with_many_sessions_keeps_no_connection_busy(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ASK_S", 60)
    async with server(address, hangs=True) as one, server(address) as other:
        await begin(one)
        wanted = taking(other)
        await eventually(lambda: len(one.asked) == len(SESSIONS))
        assert await other.store.session("session 0")
        for session_id in SESSIONS:  # it goes on
            one.store.release(session_id)
        assert None not in await asyncio.gather(*wanted)


async def test_sessions_that_cannot_be_taken_now_can_be_later(cluster: Cluster, address: str) -> None:
    waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with server(address) as one, server(address) as other:
        await begin(one)
        first, *others = SESSIONS
        locking = await connect(address)
        async with locking.transaction():
            await locking.execute("SELECT FROM session WHERE id = $1 FOR UPDATE", first)
            wanted = [asyncio.ensure_future(other.store.take(first))]
            await eventually(lambda: cluster.execute(f"SELECT 1 {waiting} AND query LIKE 'WITH%'"))
            wanted += [asyncio.ensure_future(other.store.take(session_id)) for session_id in others]
            await eventually(lambda: len(other.store._taking._wishes or ()) == len(others))
            cluster.execute(f"SELECT pg_terminate_backend(pid) {waiting} AND query LIKE 'WITH%'")
            with pytest.raises(StoreFailed):
                await wanted[0]
        assert None not in await asyncio.gather(*wanted[1:])
        assert (await other.store.take(first)).record.id == first
        await locking.close()
