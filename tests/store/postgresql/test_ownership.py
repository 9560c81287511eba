"""One server has a session at a time, and the schema is one that all running versions can live with."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from livecaption.errors import StoreFailed, StoreUnusable, Unavailable
from livecaption.recognition import SessionId
from livecaption.store import asking
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql import ownership, presence, schema, store
from livecaption.store.postgresql.connecting import connect
from livecaption.store.postgresql.store import PostgresqlStore
from livecaption.store.rows import InterruptedSession, Resumption, SessionState
from livecaption.store.store import now_ms
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.relay import relay_to_database
from tests.support.stored import new_session
from tests.support.stores import all_written, ignore, keep, read_interrupted
from tests.support.transcripts import final

ROOT = Path(__file__).parents[3]


async def opened(address: str) -> PostgresqlStore:
    store = PostgresqlStore(StoreConfig(address))
    await store.open()
    return store


async def refusal(address: str) -> str:
    with pytest.raises(StoreUnusable) as refused:
        await opened(address)
    return refused.value.message


async def migrate(address: str, steps: tuple[schema.Step, ...]) -> None:
    """Bring a database to the schema of these steps."""
    connection = await connect(address)
    try:
        async with connection.transaction():
            await ownership.migrate(connection, steps)
    finally:
        await connection.close()


async def test_the_database_of_another_program_is_not_touched(cluster: Cluster, address: str) -> None:
    cluster.execute("CREATE TABLE letter (text text); SELECT 1")
    assert "it is the database of another program" in await refusal(address)
    assert cluster.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("letter",)]


async def test_a_database_of_a_later_version_is_used_if_that_has_only_added_to_it(
    cluster: Cluster, address: str
) -> None:
    """So servers are replaced one by one: the first new one changes the schema while old ones are running."""
    later = (*schema.MIGRATIONS, schema.Step("ALTER TABLE session ADD COLUMN mood text", is_for_all=True))
    await migrate(address, later)
    store = await opened(address)
    await keep(store, new_session(), [final("One.")])
    assert [each.text for each in await store.finals("one")] == ["One."]
    await store.close()
    assert cluster.execute("SELECT version, oldest FROM livecaption") == [(len(later), schema.oldest(later))]


async def test_a_migration_waits_for_somebody_who_reads_for_long_and_servers_that_run_go_on_meanwhile(
    cluster: Cluster, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ownership, "LOCK_PAUSE_S", 0.5)
    later = (*schema.MIGRATIONS, schema.Step("ALTER TABLE session ADD COLUMN mood text", is_for_all=True))
    store, reader = await opened(address), await connect(address)
    async with reader.transaction():
        await reader.fetch("SELECT id FROM session")
        migrating = asyncio.create_task(migrate(address, later))
        await eventually(lambda: "the tables are in use" in caplog.text)
        await keep(store, new_session(), [final("One.")])
        assert not migrating.done()
    await asyncio.wait_for(migrating, 20)
    assert cluster.execute("SELECT version FROM livecaption") == [(len(later),)]
    assert caplog.text.count("the tables are in use") == 1
    assert store.figures.failures == 0
    await reader.close()
    await store.close()


async def test_the_end_of_a_session_is_noted_also_if_a_server_of_an_earlier_version_is_there_for_it(
    cluster: Cluster, address: str
) -> None:
    await migrate(address, schema.MIGRATIONS[:2])
    cluster.execute(
        "INSERT INTO session (id, title, private, state, started_at_ms, found) VALUES ('one', '', false, 'open', 5, '')"
    )
    await migrate(address, schema.MIGRATIONS)
    for state, has_ended in (("interrupted", True), ("open", False), ("ended", True)):
        cluster.execute(f"UPDATE session SET state = '{state}'")
        ((ended_at_ms,),) = cluster.execute("SELECT ended_at_ms FROM session")
        assert abs((ended_at_ms or 0) - has_ended * now_ms()) < 60_000


async def test_a_database_of_a_later_version_is_not_touched_if_that_has_changed_it(
    cluster: Cluster, address: str
) -> None:
    later = (*schema.MIGRATIONS, schema.Step("ALTER TABLE session DROP COLUMN title", is_for_all=False))
    await migrate(address, later)
    assert "it was written by a later version of livecaption" in await refusal(address)
    assert cluster.execute("SELECT version FROM livecaption") == [(len(later),)]


async def test_a_database_whose_migration_fails_is_left_as_it_was(cluster: Cluster, address: str) -> None:
    broken = (replace(schema.MIGRATIONS[0], script="CREATE TABLE one (); CREATE TABLE one ()"),)
    with pytest.raises(Exception, match="already exists"):
        await migrate(address, broken)
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
    await ownership.prepare(connection)
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await connection.close()


# Sessions of several servers


RESUMPTION = Resumption('{"type": "start"}', "hash of a token", None)
ONE = SessionId("one")
WAITS_FOR_LOCK = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@dataclass
class Server:
    """A store as a server uses it, with what it is called with."""

    store: PostgresqlStore
    asked: list[str] = field(default_factory=list)
    lost: list[tuple[str, bool]] = field(default_factory=list)
    cut_off: list[bool] = field(default_factory=list)

    def note_asked(self, session_id: SessionId) -> None:
        self.asked.append(session_id)
        self.store.release(session_id)


@asynccontextmanager
async def server(address: str, *, hangs: bool = False, **times_s: float) -> AsyncIterator[Server]:
    """Run a store. `hangs`: it does not answer others."""
    running = Server(PostgresqlStore(StoreConfig(address), **{"max_hold_s": 60, **times_s}))
    asked = running.asked.append if hangs else running.note_asked
    running.store.share(asked, lambda *lost: running.lost.append(lost), running.cut_off.append)
    await running.store.open()
    try:
        yield running
    finally:
        await running.store.close()


def begin(to: Server, n_finals: int, first: int = 0) -> None:
    """Let a server begin a session that can go on, or go on with it."""
    if first == 0:
        to.store.begin(new_session(resumption=RESUMPTION), ignore)
    for n in range(first, first + n_finals):
        to.store.append(ONE, final(str(n), utterance=n), n, 100 * n, ignore)


async def texts(of: Server) -> list[str]:
    return [each.text for each in await of.store.finals("one")]


async def test_a_server_that_is_asked_for_a_session_writes_what_it_has_and_gives_it_up(address: str) -> None:
    async with server(address) as one, server(address) as other:
        begin(one, 1)
        await all_written(one.store)
        assert (await other.store.session("one")).state is SessionState.OPEN
        assert await other.store.resumption("one") == RESUMPTION
        begin(one, 50, first=1)  # they still wait
        taken = await other.store.take(ONE)
        assert (taken.generation, len(taken.finals), taken.checkpoint_ms) == (1, 51, 5000)
        assert (one.asked, one.lost, other.lost) == (["one"], [], [])
        other.store.reopen(ONE)
        begin(other, 1, first=51)
        await all_written(other.store)
        assert await texts(other) == [str(n) for n in range(52)]
        begin(one, 1, first=52)
        await all_written(one.store)
        assert len(await texts(other)) == 52


async def test_a_session_of_a_server_that_hangs_is_taken_and_its_late_write_changes_no_row(address: str) -> None:
    """The write is stopped on its way to the database, and arrives after the session has moved on."""
    async with (
        relay_to_database(address) as (relay, by_relay),
        server(address) as other,
        server(by_relay, hangs=True) as one,
    ):
        begin(one, 1)
        await all_written(one.store)
        written: list[bool] = []
        relay.hold()
        one.store.append(ONE, final("Late.", utterance=1), 1, 900, lambda: written.append(bool(one.lost)))
        one.store.end(ONE, 5000, ignore)
        taken = await other.store.take(ONE)
        assert (taken.generation, [each.text for each in taken.finals], taken.checkpoint_ms) == (1, ["0"], 0)
        relay.release()
        await eventually(lambda: written)
        assert await texts(other) == ["0"]
        assert (await other.store.session("one")).state is SessionState.INTERRUPTED
        assert await other.store.resumption("one") == RESUMPTION


async def test_a_server_learns_that_it_has_lost_a_session_before_its_final_counts_as_written(address: str) -> None:
    async with server(address, hangs=True) as one, server(address) as other:
        begin(one, 1)
        await all_written(one.store)
        assert (await other.store.take(ONE)).generation == 1
        lost_before: list[bool] = []
        one.store.append(ONE, final("Late.", utterance=1), 1, 900, lambda: lost_before.append(bool(one.lost)))
        await eventually(lambda: lost_before)
        assert (lost_before, one.lost, await texts(other)) == ([True], [("one", False)], ["0"])


async def test_a_session_that_ends_when_it_is_asked_for_has_ended(address: str) -> None:
    async with server(address) as one, server(address) as other:
        one.store.share(lambda session_id: one.store.end(session_id, 900, ignore), lambda *_: None, lambda _: None)
        begin(one, 1)
        await all_written(one.store)
        with pytest.raises(Unavailable):
            await other.store.take(ONE)
        assert (await other.store.session("one")).state is SessionState.ENDED
        assert other.store._generations == {}


async def test_a_server_that_hangs_with_many_sessions_keeps_no_connection_busy(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ASK_S", 60)
    ids = [SessionId(f"session {n}") for n in range(store.MAX_READING + 1)]
    async with server(address, hangs=True) as one, server(address) as other:
        for session_id in ids:
            await keep(one.store, new_session(session_id, resumption=RESUMPTION), ended=False)
        taking = [asyncio.ensure_future(other.store.take(session_id)) for session_id in ids]
        await eventually(lambda: len(one.asked) == len(ids))
        assert await other.store.session("session 0")
        for session_id in ids:  # it goes on
            one.store.release(session_id)
        assert [session.record.id for session in await asyncio.gather(*taking)] == ids


async def test_a_server_that_writes_nothing_learns_that_it_has_lost_a_session(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It missed the question for the session, in which nobody speaks."""
    monkeypatch.setattr(store, "WATCH_INTERVAL_S", 0.05)
    async with server(address, hangs=True) as one, server(address) as other:
        begin(one, 1)
        await keep(one.store, new_session("two", resumption=RESUMPTION), ended=False)
        await other.store.take(ONE)
        await eventually(lambda: one.lost)
        await other.store.take(SessionId("two"))
        other.store.reopen(SessionId("two"))
        await eventually(lambda: len(one.lost) == 2)
        assert one.lost[0] == ("one", False)  # its publisher has not come there yet
        assert (one.lost[1][0], other.lost) == ("two", [])


async def test_a_server_that_was_taken_for_dead_has_its_sessions_again_unless_they_have_moved_on(
    cluster: Cluster, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WATCH_INTERVAL_S", 0.05)
    async with server(address, hangs=True) as one, server(address) as other:
        begin(one, 1)
        await keep(one.store, new_session("two", resumption=RESUMPTION), ended=False)
        dead = {one.store._presence.id}

        async def take_the_second(connection: object) -> None:
            await ownership.interrupt(connection, dead)
            assert await ownership.take(connection, "two", other.store._presence.id, None, 0)

        await other.store._do(take_the_second)
        await eventually(lambda: one.lost)
        begin(one, 1, first=1)
        await all_written(one.store)
        assert (one.lost, await texts(other)) == ([("two", False)], ["0", "1"])
        await eventually(lambda: cluster.execute("SELECT state FROM session WHERE id = 'one'") == [("open",)])
        assert (await other.store.take(ONE)).generation == 1
        assert one.asked == ["one"]  # it is the owner again


async def test_a_session_that_ends_while_nobody_has_it_has_ended(address: str) -> None:
    """Its server was taken for dead, and has been back for less than the time of a comparison."""
    async with server(address) as one, server(address) as other:
        begin(one, 1)
        await all_written(one.store)
        await other.store._do(partial(ownership.interrupt, servers={one.store._presence.id}))
        one.store.end(ONE, 5000, ignore)
        await all_written(one.store)
        record = await other.store.session("one")
        assert (record.state, record.duration_ms, one.lost) == (SessionState.ENDED, 5000, [])
        assert await other.store.resumption("one") is None


async def test_a_fault_in_a_session_that_is_lost_does_not_hide_the_loss_of_the_next(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WATCH_INTERVAL_S", 0.05)
    async with server(address, hangs=True) as one, server(address) as other:
        lost: list[str] = []

        def fail(session_id: SessionId, with_publisher: bool) -> None:
            lost.append(session_id)
            raise RuntimeError("a fault")

        one.store.share(one.asked.append, fail, one.cut_off.append)
        begin(one, 1)
        await keep(one.store, new_session("two", resumption=RESUMPTION), ended=False)
        await other.store.take(ONE)
        await eventually(lambda: lost == ["one"])
        await other.store.take(SessionId("two"))
        await eventually(lambda: lost == ["one", "two"])


async def test_a_write_that_meets_a_takeover_waits_for_it_and_changes_no_row(cluster: Cluster, address: str) -> None:
    async with server(address) as one:
        begin(one, 1)
        await all_written(one.store)
        other = await connect(address)
        transaction = other.transaction()
        await transaction.start()
        owner, generation = await ownership.owner_of(other, "one")
        assert await ownership.take(other, "one", uuid4(), owner, generation)
        begin(one, 1, first=1)
        await eventually(lambda: cluster.execute(WAITS_FOR_LOCK))
        await transaction.commit()
        await eventually(lambda: one.lost)
        assert (one.lost, await texts(one)) == ([("one", False)], ["0"])
        await other.close()


async def test_a_session_that_comes_back_to_a_server_is_not_written_by_what_waited_there(address: str) -> None:
    async with (
        relay_to_database(address) as (relay, by_relay),
        server(address, hangs=True) as other,
        server(by_relay, hangs=True) as one,
    ):
        begin(one, 1)
        await all_written(one.store)
        relay.hold()
        one.store.append(ONE, final("Late.", utterance=1), 1, 900, ignore)
        assert (await other.store.take(ONE)).generation == 1
        taking = asyncio.ensure_future(one.store.take(ONE))
        await asyncio.sleep(0)
        relay.release()
        assert (await taking).generation == 2
        begin(one, 1, first=2)
        await all_written(one.store)
        assert await texts(other) == ["0", "2"]


async def test_of_two_servers_that_take_a_session_at_once_one_gets_it(address: str) -> None:
    async with server(address, hangs=True) as owner, server(address) as one, server(address) as other:
        begin(owner, 1)
        await all_written(owner.store)
        results = await asyncio.gather(one.store.take(ONE), other.store.take(ONE), return_exceptions=True)
        (refusal,) = [result for result in results if isinstance(result, Unavailable)]
        (taken,) = [result for result in results if isinstance(result, InterruptedSession)]
        assert (refusal.retry_after_s, taken.generation) == (1.0, 1)


async def test_a_session_stays_where_it_is_if_nobody_waits_any_more_for_its_takeover(
    cluster: Cluster, address: str
) -> None:
    async with server(address) as former, server(address) as one:
        begin(former, 1)
        former.store.release(ONE)
        await all_written(former.store)
        other = await connect(address)
        async with other.transaction():
            await other.execute("SELECT 1 FROM session FOR UPDATE")
            callers = [asyncio.ensure_future(wanted) for wanted in (one.store.take(ONE), one.store.delete("one"))]
            await eventually(lambda: cluster.execute(WAITS_FOR_LOCK))
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
        await all_written(one.store)
        assert await other.fetchrow("SELECT owner, generation FROM session") == (None, 0)
        assert (await one.store.take(ONE)).generation == 1
        await other.close()


WAIT_AT_COMMIT = """
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON session DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait();
"""
OWNER = "SELECT owner, generation FROM session"


async def test_a_session_whose_takeover_is_committed_when_nobody_waits_for_it_any_more_is_given_back(
    cluster: Cluster, address: str
) -> None:
    async with server(address) as former, server(address) as one:
        begin(former, 1)
        former.store.release(ONE)
        await all_written(former.store)
        other = await connect(address)
        await other.execute(WAIT_AT_COMMIT)
        await other.execute("SELECT pg_advisory_lock(1)")
        caller = asyncio.ensure_future(one.store.take(ONE))
        await eventually(lambda: cluster.execute(WAITS_FOR_LOCK))
        caller.cancel()
        await asyncio.wait({caller})
        await other.execute("SELECT pg_advisory_unlock(1)")
        await all_written(one.store)
        assert await other.fetchrow(OWNER) == (None, 1)
        await other.close()


async def test_a_takeover_that_fails_gives_nothing_back_that_another_server_has_taken_meanwhile(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server(address) as former, server(address) as one, server(address) as other:
        begin(former, 1)
        former.store.release(ONE)
        await all_written(former.store)

        async def overtaken(*_: object, **__: object) -> bool:
            monkeypatch.undo()
            await one.store.take(ONE)
            raise OSError

        monkeypatch.setattr(ownership, "take", overtaken)
        with pytest.raises(StoreFailed):
            await other.store.take(ONE)
        await all_written(other.store)
        connection = await connect(address)
        assert await connection.fetchrow(OWNER) == (one.store._presence.id, 1)
        await connection.close()


async def test_a_session_that_is_over_or_cannot_go_on_is_not_taken(address: str) -> None:
    async with server(address) as one, server(address) as other:
        begin(one, 1)
        one.store.end(ONE, 900, ignore)
        await keep(one.store, new_session("container"), [final("One.")], ended=False)
        for name in ("one", "container", "nobody"):
            assert await other.store.take(SessionId(name)) is None
            assert await other.store.resumption(name) is None


async def test_sessions_of_a_process_that_was_killed_are_interrupted_by_another_and_taken_by_the_next(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WATCH_INTERVAL_S", 0.1)
    program = (
        "import asyncio\nfrom tests.store.postgresql.test_ownership import *\n"
        f"async def main():\n    async with server({address!r}) as one:\n        begin(one, 2)\n"
        "        await keep(one.store, new_session('container'), [], ended=False)\n"
        "        print('written', flush=True)\n        await asyncio.sleep(600)\nasyncio.run(main())"
    )
    async with server(address) as living:
        await keep(living.store, new_session("living", resumption=RESUMPTION), [], ended=False)
        killed = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE, cwd=ROOT)
        assert await killed.stdout.readline() == b"written\n"
        assert [each.state for each in await living.store.sessions(9)] == 3 * [SessionState.OPEN]
        killed.kill()
        await killed.wait()
        async with asyncio.timeout(20):
            while (await living.store.session("one")).state is SessionState.OPEN:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await living.store.session("container")).state is SessionState.INTERRUPTED
        assert await read_interrupted(living.store) == []  # they are not its own
        async with server(address) as following:
            (adopted,) = await read_interrupted(following.store)
            assert (adopted.record.id, adopted.generation, len(adopted.finals)) == ("one", 1, 2)
            assert abs(adopted.interrupted_at_ms - time.time() * 1000) < 20_000
            assert (await following.store.session("living")).state is SessionState.OPEN
        assert living.lost == []


async def test_a_server_whose_connections_break_for_a_moment_keeps_its_sessions(
    cluster: Cluster, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "BEAT_S", 0.05)
    monkeypatch.setattr(store, "WATCH_INTERVAL_S", 1.0)
    async with server(address, retry_s=0.05) as one, server(address, retry_s=0.05) as other:
        begin(one, 1)
        await all_written(one.store)
        cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        begin(one, 1, first=1)
        await eventually(lambda: one.store.figures.waiting == 0)
        await asyncio.sleep(2.5)
        assert (await other.store.session("one")).state is SessionState.OPEN
        assert (await other.store.take(ONE)).generation == 1  # and it is asked as before
        assert (one.asked, one.lost) == (["one"], [])


async def test_a_server_shows_again_that_it_runs_after_a_time_in_which_its_certificate_could_not_be_read(
    cluster: Cluster, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "BEAT_S", 0.05)
    refused = asyncio.Event()

    async def refuse(_: str) -> None:
        refused.set()
        raise StoreUnusable("the certificate cannot be read")

    async with server(address) as one:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(presence, "connect", refuse)
            locks = "FROM pg_locks WHERE locktype = 'advisory'"
            cluster.execute(f"SELECT pg_terminate_backend(pid) {locks}")
            await asyncio.wait_for(refused.wait(), 20)
            assert not cluster.execute(f"SELECT 1 {locks}")
        await eventually(lambda: cluster.execute(f"SELECT 1 {locks}"))
        assert not one.store.figures.cut_off
