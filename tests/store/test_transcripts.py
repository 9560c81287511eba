"""The store as the event loop sees it: a final is reported as written when it is, or when nothing waits for it."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from livecaption.errors import StoreFailed, StoreUnusable
from livecaption.recognition import SessionId
from livecaption.store import held, transcripts, writer
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database
from livecaption.store.rows import SessionState
from livecaption.store.store import now_ms
from livecaption.store.transcripts import TranscriptStore
from tests.support.eventually import eventually
from tests.support.stored import bytes_of, fill, locked_by_another, new_session, opened, read_by_another
from tests.support.stores import ignore
from tests.support.transcripts import final

ONE = SessionId("one")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transcripts.db"


@asynccontextmanager
async def open_store(path: Path, keep_days: float = 0, **times_s: float) -> AsyncIterator[TranscriptStore]:
    store = TranscriptStore(StoreConfig(str(path), keep_days), **times_s)
    await store.open()
    yield store
    await store.close()


async def append(store: TranscriptStore, text: str, utterance: int = 0) -> None:
    written = asyncio.Event()
    store.append(ONE, final(text, utterance=utterance), utterance, None, written.set)
    async with asyncio.timeout(20):
        await written.wait()


async def test_a_path_below_an_unknown_home_is_refused() -> None:
    store = TranscriptStore(StoreConfig("~no-such-user/transcripts.db"))
    with pytest.raises(StoreUnusable, match=r"in ~no-such-user/transcripts\.db: the home directory is unknown"):
        await store.open()


async def test_a_final_that_is_reported_as_written_is_in_the_file(path: Path) -> None:
    async with open_store(path) as store:
        store.begin(new_session(), ignore)
        await append(store, "One.")
        with contextlib.closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT text FROM final").fetchall() == [("One.",)]
        store.end(ONE, 5000, ignore)
    async with open_store(path) as store:
        (session,) = await store.sessions(10)
        assert (session.state, session.duration_ms) == (SessionState.ENDED, 5000)


async def test_the_disk_never_blocks_the_loop(path: Path) -> None:
    """All of it happens in the two threads of the store."""
    async with open_store(path) as store:
        threads: set[str] = set()
        await store._read(lambda _: threads.add(threading.current_thread().name))
        store.begin(new_session(), ignore)
        with locked_by_another(path):
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            for n in range(100):
                store.append(ONE, final(str(n), utterance=n), n, None, ignore)
            assert loop.time() - began_s < 0.2
        assert not any("MainThread" in name for name in threads)


async def test_captions_do_not_wait_for_a_database_that_is_locked_and_are_written_later(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(path, max_hold_s=0.1, retry_s=0.1) as store:
        store.begin(new_session(), ignore)
        with locked_by_another(path):
            await append(store, "One.")  # waits for the deadline
            reported: list[bool] = []
            store.append(ONE, final("Two.", utterance=1), 1, None, lambda: reported.append(True))
            assert reported == [True]  # and this one does not wait any more
            await eventually(lambda: store.figures.failures > 0)
            assert not store.figures.working
            assert store.figures.waiting >= 2
            n_early = store.figures.early
            assert (store.figures.behind, n_early >= 2) == (True, True)
        await eventually(lambda: store.figures.working and store.figures.waiting == 0)
        assert not await store.delete("nobody")  # answered after the store has the report that all is written
        # It is caught up: from now on finals wait for the disk again.
        store.append(ONE, final("Three.", utterance=2), 2, None, lambda: reported.append(False))
        assert reported == [True]
        assert not store.figures.behind
        await eventually(lambda: reported == [True, False])
        assert store.figures.early == n_early
        (session,) = await store.sessions(10)
        assert session.n_finals == 3
        finals = await store.finals(session.id)
    assert [each.text for each in finals] == ["One.", "Two.", "Three."]
    assert [record.getMessage() for record in caplog.records if record.name == held.__name__][-2:] == [
        "the store needs more than 0.1 s: captions are sent before they are stored",
        "the store has caught up: captions are stored before they are sent again",
    ]
    assert not any("One." in record.getMessage() for record in caplog.records)


async def test_a_deletion_is_done_when_it_is_answered(path: Path) -> None:
    async with open_store(path) as store:
        store.begin(new_session(), ignore)
        await append(store, "Xylograph.")
        assert await store.delete("one")
        assert await store.sessions(10) == []
        assert b"Xylograph" not in bytes_of(path.parent)
        assert not await store.delete("one")


async def test_a_deletion_that_cannot_be_done_now_is_refused(path: Path) -> None:
    async with open_store(path) as store:
        store.begin(new_session(), ignore)
        await append(store, "One.")
        with locked_by_another(path), pytest.raises(StoreFailed, match="locked"):
            await store.delete("one")
        assert len(await store.sessions(10)) == 1


async def test_a_deletion_that_was_cut_short_is_finished_at_the_next_start(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("keep"), [final("Stay.")])
        fill(database, new_session("gone"), [final("Xylograph.")])
        assert next(database.delete("gone"))  # and no step more
        assert b"xylograph" in bytes_of(path.parent)
    async with open_store(path) as store:
        await eventually(lambda: b"xylograph" not in bytes_of(path.parent))
        assert [session.id for session in await store.sessions(10)] == ["keep"]


@pytest.mark.parametrize("keep_days", [0, 1])
async def test_a_deletion_that_was_cut_short_by_a_reader_of_the_file_is_finished_within_an_hour(
    keep_days: float, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "EXPIRY_INTERVAL_S", 0.1)
    async with open_store(path, keep_days) as store:
        store.begin(new_session(started_at_ms=now_ms()), ignore)
        await append(store, "Xylograph.")
        with read_by_another(path), pytest.raises(StoreFailed, match="still reads"):
            await store.delete("one")
        assert await store.sessions(10) == []
        await eventually(lambda: b"Xylograph" not in bytes_of(path.parent))


async def test_a_store_that_cannot_be_read_raises_an_error_and_is_read_again_when_it_can(path: Path) -> None:
    async with open_store(path) as store:

        def fail(_: Database) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

        with pytest.raises(StoreFailed, match="malformed"):
            await store._read(fail)
        assert await store.sessions(10) == []


def move(path: Path, to: Path) -> None:
    path.rename(to)


async def test_a_file_that_is_removed_is_missed_and_used_again_when_it_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = path.with_name("away.db")
    async with open_store(path, max_hold_s=0.1, retry_s=0.05) as store:
        store.begin(new_session(), ignore)
        await append(store, "One.")
        assert len(await store.sessions(10)) == 1
        move(path, away)
        with pytest.raises(StoreFailed, match="removed"):
            await store.sessions(10)
        with pytest.raises(StoreFailed, match="removed"):
            await store.delete("one")
        await append(store, "Two.", 1)  # waits for the deadline
        await eventually(lambda: store.figures.failures > 2)
        assert not store.figures.working
        move(away, path)
        await eventually(lambda: store.figures.working and store.figures.waiting == 0)
        (session,) = await store.sessions(10)
        assert [each.text for each in await store.finals(session.id)] == ["One.", "Two."]
    reported = [record.message for record in caplog.records if record.name == writer.__name__]
    assert reported == [
        "transcripts cannot be stored (the file was removed or replaced); captions go on, "
        "and are stored later if possible",
        "transcripts are stored again, including those that waited",
    ]


async def test_a_file_that_is_replaced_is_used_from_then_on(path: Path) -> None:
    other = path.with_name("other.db")
    with opened(other) as database:
        fill(database, new_session("other"), [final("Other.")])
    async with open_store(path, retry_s=0.05) as store:
        assert await store.sessions(10) == []
        move(other, path)
        store.begin(new_session(), ignore)
        await eventually(lambda: store.figures.failures > 0 and store.figures.working)
        with pytest.raises(StoreFailed, match="replaced"):
            await store.sessions(10)
        assert [session.id for session in await store.sessions(10)] == ["one", "other"]


async def test_a_stop_with_a_broken_database_reports_what_is_lost(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reported: list[bool] = []
    store = TranscriptStore(StoreConfig(str(path)))
    await store.open()
    with locked_by_another(path):
        store.begin(new_session(), ignore)
        store.append(ONE, final("One."), 0, None, lambda: reported.append(True))
        await store.close()
    assert reported == [True]
    assert "2 transcript entries could not be stored before the end" in caplog.text
    assert [record.levelno for record in caplog.records if "before the end" in record.message] == [logging.ERROR]
