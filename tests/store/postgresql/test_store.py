"""A database that goes away costs no final, and delays no caption for longer than a moment."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from livecaption.errors import StoreFailed
from livecaption.recognition import SessionId
from livecaption.store import held
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql import readable, writer
from livecaption.store.postgresql.connecting import connect
from livecaption.store.postgresql.store import PostgresqlStore
from livecaption.store.rows import Resumption, SessionState
from livecaption.store.store import written
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.relay import Relay, relay_to_database
from tests.support.stored import new_session
from tests.support.stores import all_written, ignore, keep
from tests.support.transcripts import final

ONE = SessionId("one")
RESUMPTION = Resumption("{}", "hash", None)


@asynccontextmanager
async def opened(address: str, **times_s: float) -> AsyncIterator[PostgresqlStore]:
    store = PostgresqlStore(StoreConfig(address), **times_s)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_by_relay(address: str, **times_s: float) -> AsyncIterator[tuple[PostgresqlStore, Relay]]:
    """Open the store over a network that the test can break."""
    async with relay_to_database(address) as (relay, by_relay), opened(by_relay, **times_s) as store:
        yield store, relay


async def append(store: PostgresqlStore, text: str, utterance: int) -> None:
    async with asyncio.timeout(20):
        await written(lambda call: store.append(ONE, final(text, utterance=utterance), utterance, None, call))


async def test_finals_wait_in_memory_while_the_database_is_away_and_are_written_when_it_is_back(
    cluster: Cluster, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(address, max_hold_s=0.3, retry_s=0.1) as store:
        await keep(store, new_session(), [final("Zero.")], ended=False)
        assert await store.session("one") is not None
        cluster.stop(signal.SIGQUIT)  # as a machine that loses power
        try:
            await append(store, "One.", 1)  # waits for the deadline
            assert (store.figures.behind, store.figures.early) == (True, 1)
            reported: list[bool] = []
            store.append(ONE, final("Two.", utterance=2), 2, None, lambda: reported.append(True))
            assert reported == [True]  # and this one does not wait any more
            await eventually(lambda: store.figures.failures > 1)
            assert (store.figures.working, store.figures.waiting) == (False, 2)
            with pytest.raises(StoreFailed, match="cannot be read now: "):
                await store.session("one")
            with pytest.raises(StoreFailed, match="cannot be changed now: "):
                await store.delete("one")
        finally:
            cluster.start()
        await eventually(lambda: store.figures.working and not store.figures.behind)
        assert store.figures.waiting == 0
        await append(store, "Three.", 3)
        assert [each.text for each in await store.finals("one")] == ["Zero.", "One.", "Two.", "Three."]
        assert (await store.session("one")).state is SessionState.OPEN  # no other server was here
        assert store.figures.lost == 0
    names = (held.__name__, writer.__name__)
    reports = [record.getMessage() for record in caplog.records if record.name in names]
    assert len(reports) == 4, reports
    assert reports[-2:] == [
        "transcripts are stored again, including those that waited",
        "the store has caught up: captions are stored before they are sent again",
    ]
    assert not any("One." in report for report in reports)


async def test_a_network_that_dies_without_a_word_is_noticed_and_the_finals_are_written_over_another_connection(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WRITE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(readable, "READ_TIMEOUT_S", 0.5)
    async with opened_by_relay(address, max_hold_s=0.1, retry_s=0.1) as (store, relay):
        await keep(store, new_session(), [], ended=False)
        assert await store.session("one") is not None
        relay.hold()
        await append(store, "One.", 1)
        with pytest.raises(StoreFailed, match="the database does not answer"):
            await store.session("one")
        await eventually(lambda: not store.figures.working)
        relay.break_all()
        relay.release()
        await eventually(lambda: store.figures.working and store.figures.waiting == 0)
        assert [each.text for each in await store.finals("one")] == ["One."]


async def test_an_answer_does_not_wait_for_the_end_of_its_connection_whose_failure_is_not_logged(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened_by_relay(address) as (store, relay):

        async def question(connection: Any) -> object:
            answer = await connection.fetchval("SELECT 1")
            relay.hold()
            return answer

        async with asyncio.timeout(readable.READ_TIMEOUT_S / 2):
            assert await store._read(question) == 1
        relay.break_all()
        relay.release()
        await eventually(lambda: not store._releasing)
        assert await store.session("one") is None
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_an_entry_whose_commit_was_done_when_the_connection_broke_is_written_once(address: str) -> None:
    async with opened_by_relay(address, retry_s=0.1) as (store, relay):
        await keep(store, new_session(), [], ended=False)
        for n in range(30):
            store.append(ONE, final(str(n), utterance=n), n, None, ignore)
            if n % 10 == 5:
                await asyncio.sleep(0.002 * (n % 3 + 1))
                relay.break_all()
        await eventually(lambda: store.figures.waiting == 0)
        assert [each.text for each in await store.finals("one")] == [str(n) for n in range(30)]
        assert (await store.session("one")).n_finals == 30


async def test_entries_that_wait_for_a_database_are_bounded_and_the_rest_counted_as_lost(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_by_relay(address, max_hold_s=0.05, retry_s=0.05) as (store, relay):
        store._writer._max_waiting = 10
        relay.cut()
        for n in range(12):
            store.append(ONE, final(str(n), utterance=n), n, None, ignore)
        assert (store.figures.waiting, store.figures.lost) == (10, 2)
        store.begin(new_session("two"), ignore)
        store.end(SessionId("two"), 900, ignore)
        assert (store.has_lost("one"), store.has_lost("two")) == (False, True)  # those who read it after its end ask
        relay.up = True
        await eventually(lambda: store.figures.waiting == 0)


async def test_a_stop_while_the_database_is_away_reports_what_is_lost(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[bool] = []
    async with opened_by_relay(address, max_hold_s=60) as (store, relay):
        relay.cut()
        store.begin(new_session(), ignore)
        store.append(ONE, final("One."), 0, None, lambda: reported.append(True))
    assert reported == [True]
    assert "2 transcript entries could not be stored before the end" in caplog.text
    assert [record.levelno for record in caplog.records if "before the end" in record.message] == [logging.ERROR]


async def test_waiting_entries_are_still_written_at_the_end(address: str) -> None:
    async with opened(address) as store:
        store.begin(new_session(), ignore)
        for n in range(50):
            store.append(ONE, final(str(n), utterance=n), n, None, ignore)
    async with opened(address) as store:
        assert len(list(await store.finals("one"))) == 50


async def test_all_that_waits_is_written_in_few_transactions(cluster: Cluster, address: str) -> None:
    async with opened(address, max_hold_s=60) as store:
        await keep(store, new_session(), [], ended=False)
        for n in range(500):
            store.append(ONE, final(str(n), utterance=n), n, n, ignore)
        await all_written(store)
        ((n_transactions,),) = cluster.execute("SELECT count(DISTINCT xmin::text) FROM final")
    assert n_transactions <= 2


async def test_a_backlog_that_needs_longer_than_a_transaction_may_is_written_in_smaller_ones(
    cluster: Cluster, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry in it can never be written, and costs the others nothing."""
    monkeypatch.setattr(writer, "WRITE_TIMEOUT_S", 0.5)
    async with opened(address, retry_s=0.05) as store:
        await keep(store, new_session(), [], ended=False)
        cluster.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN new; "
            "END $$; CREATE TRIGGER wait BEFORE INSERT ON final FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        for n in range(100):
            store.append(ONE, final("\ud800" if n == 60 else str(n), utterance=n), n, None, ignore)
        await all_written(store)
        assert [each.text for each in await store.finals("one")] == [str(n) for n in range(100) if n != 60]
        assert store.figures.lost == 1


async def test_a_session_that_is_not_written_yet_is_not_deleted_before_it_is(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be stored after its deletion."""
    monkeypatch.setattr(writer, "WRITE_TIMEOUT_S", 0.5)
    other = await connect(address)
    async with opened(address, max_hold_s=60, retry_s=0.05) as store:
        async with other.transaction():
            await other.execute("LOCK TABLE resumption")
            store.begin(new_session(resumption=RESUMPTION), ignore)
            with pytest.raises(StoreFailed, match="cannot be changed now: "):
                await store.delete("one")
        await all_written(store)
        assert await store.delete("one")
    await other.close()


async def test_entries_and_changes_that_deadlock_with_another_server_are_tried_again(
    cluster: Cluster, address: str
) -> None:
    async with opened(address, max_hold_s=60) as store:
        await keep(store, new_session(), [], ended=False)
        cluster.execute(
            "CREATE SEQUENCE tries; CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('tries') % 2 = 1 THEN RAISE EXCEPTION 'met' USING ERRCODE = 'deadlock_detected'; END IF; "
            "RETURN new; END $$; CREATE TRIGGER meet BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION meet()"
        )
        assert await store.rename("one", "A title", {})
        store.append(ONE, final("One."), 0, None, ignore)
        await all_written(store)
        record = await store.session("one")
        assert (record.title, record.n_finals, store.figures.failures) == ("A title", 1, 0)
        assert cluster.execute("SELECT last_value FROM tries") == [(4,)]
