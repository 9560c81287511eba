"""One file: what is written stays, what is deleted goes, a file that cannot be used is reported in a line."""

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from livecaption.errors import StoreUnusable
from livecaption.recognition import SessionId
from livecaption.store import rows, search
from livecaption.store.database import Database
from livecaption.store.ownership import acquire
from livecaption.store.store import now_ms
from tests.support.stored import (
    ENDED_WITH_AUDIO,
    STARTED_AT_MS,
    bytes_of,
    fill,
    locked_by_another,
    new_session,
    opened,
    read_by_another,
)
from tests.support.transcripts import final


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "transcripts.db"


# What is written


def test_nothing_is_written_to_a_file_that_is_moved_while_it_is_locked(path: Path) -> None:
    away = path.with_name("away.db")
    with opened(path) as database:
        fill(database, new_session(), [])
        failures: list[sqlite3.Error | None] = []
        writing = threading.Thread(target=lambda: failures.append(failure_of(database)))
        with locked_by_another(path):
            writing.start()
            path.rename(away)
        writing.join()
        away.rename(path)
        assert [str(failure) for failure in failures] == ["the file was removed or replaced"]
        (session,) = database.sessions(10)
        assert session.n_finals == 0


def failure_of(database: Database) -> sqlite3.Error | None:
    """Write a final; return the error that it ends with."""
    try:
        database.write([rows.append(new_session().id, final("Lost."), 1)])
    except sqlite3.Error as error:
        return error
    return None


def test_only_the_user_who_runs_the_server_may_read_the_files(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session(), [final("One.")])
        for file in (path, path.with_name("transcripts.db-wal"), path.with_name("transcripts.db-shm")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# What is deleted


def test_of_a_deleted_session_no_word_is_left_in_any_file(path: Path) -> None:
    """Neither in rows, nor in the index, nor in free pages, nor in the log."""
    words = [f"xylograph{n:03}" for n in range(1000)]
    with opened(path, merged_pages=1) as database:  # many steps, as in a large index
        finals = [final(f"{word} and more", 1000 * n, 1000 * n + 900, n) for n, word in enumerate(words)]
        fill(database, new_session("keep"), [final("Stay here.")])
        fill(database, new_session("gone", "Quetzalcoatl"), finals)
        fill(database, new_session("keep too"), [final("Stay here as well.")])
        assert b"xylograph" in bytes_of(path.parent)
        steps = list(database.delete("gone"))
        assert steps[0] is True
        assert len(steps) > 2
        left = bytes_of(path.parent)
        assert b"xylograph" not in left.lower()
        assert b"quetzalcoatl" not in left.lower()
        for index in ("final_text", "session_title"):
            database.execute(f"CREATE VIRTUAL TABLE temp.{index}_words USING fts5vocab('main', '{index}', 'row')")
            known = {term for (term,) in database.execute(f"SELECT term FROM temp.{index}_words")}
            assert not any(term.startswith(("xylo", "quetz")) for term in known)
        assert [each.id for each in database.sessions(10, None, search.terms("stay"))] == ["keep too", "keep"]


def test_a_deletion_that_waits_for_a_reader_of_the_log_keeps_nobody_from_writing(path: Path) -> None:
    with opened(path) as database, contextlib.closing(Database(path, busy_timeout_s=30)) as deleting:
        fill(database, new_session(), [final("One.")])
        with read_by_another(path):
            began_s = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="still reads"):
                list(deleting.delete("one"))
            assert time.monotonic() - began_s < 30, "it waits with the lock"
        assert deleting.execute("PRAGMA busy_timeout").fetchone() == (30_000,)


def test_a_session_is_found_by_its_new_title_and_of_the_old_one_nothing_is_left(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("one", "Quetzalcoatl"), [final("Stay here.")])
        assert next(database.rename("nobody", "Xylograph", {})) is False
        assert all(database.rename("one", "Xylograph", {}))
        found = {title: database.sessions(10, None, search.terms(title)) for title in ("quetzalcoatl", "xylograph")}
        assert {title: [each.title for each in sessions] for title, sessions in found.items()} == {
            "quetzalcoatl": [],
            "xylograph": ["Xylograph"],
        }
        assert b"quetzalcoatl" not in bytes_of(path.parent).lower()
        list(database.delete("one"))
        assert database.sessions(10, None, search.terms("xylograph")) == []


@pytest.mark.parametrize(
    "next_time",
    [
        Database.purge,  # at the next start
        lambda database: database.delete("one"),  # the caller tries again
        lambda database: database.expire(STARTED_AT_MS),
    ],
    ids=["start", "deletion", "expiry"],
)
def test_a_log_that_somebody_still_reads_is_reported_and_emptied_the_next_time(
    next_time: Callable[[Database], Iterable[bool]], path: Path
) -> None:
    with opened(path) as database:
        fill(database, new_session(), [final("Xylograph.")])
        with read_by_another(path), pytest.raises(sqlite3.OperationalError, match="still reads"):
            list(database.delete("one"))
        assert b"Xylograph" in bytes_of(path.parent)
        assert not any(next_time(database))
        assert b"Xylograph" not in bytes_of(path.parent)


def test_a_session_that_ended_before_a_time_expires_and_an_open_one_does_not(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("old"), [final("Xylograph.", 0, 1000)])
        fill(database, new_session("longer"), [final("Two.", 0, 5000)])
        fill(database, new_session("open"), [final("Three.", 0, 1000)], ended=False)
        # A recording that was sent faster than it lasts.
        database.execute("UPDATE session SET duration_ms = 10 * duration_ms WHERE id = 'old'")
        list(database.expire(STARTED_AT_MS + 1001))
        assert [session.id for session in database.sessions(10)] == ["open", "longer"]
        assert b"Xylograph" not in bytes_of(path.parent)


def test_a_session_that_goes_on_after_an_interruption_has_not_ended_with_it(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session(), [], ended=False)
    with opened(path) as database:
        database.execute(f"UPDATE session SET {ENDED_WITH_AUDIO}")  # it was interrupted long ago
        database.write(rows.reopen(SessionId("one")))
        assert database.execute("SELECT ended_at_ms FROM session").fetchone() == (None,)
        database.write(rows.end(SessionId("one"), 1000))
        list(database.expire(now_ms() - 60_000))
        assert [session.id for session in database.sessions(10)] == ["one"]


# What cannot be used


def test_a_store_has_one_server_until_that_ends_in_any_way(path: Path) -> None:
    program = (
        "import sys, pathlib\nfrom livecaption.store.ownership import acquire\n"
        f"lock = acquire(pathlib.Path({str(path)!r}))\nprint('mine', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(StoreUnusable, match="another server keeps its transcripts there"):
            acquire(path)
        other.kill()
        other.wait()
        acquire(path).close()


def test_no_other_user_can_open_the_lock_and_so_keep_the_server_from_starting(path: Path) -> None:
    lock = path.with_name("transcripts.db.lock")
    umask = os.umask(0)
    try:
        acquire(path).close()
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        lock.chmod(0o644)  # as earlier versions made it
        acquire(path).close()
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    finally:
        os.umask(umask)


def test_a_store_that_another_program_has_locked_is_reported(path: Path) -> None:
    acquire(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnusable, match="locked"):
            acquire(path)
        other.execute("ROLLBACK")


@pytest.mark.parametrize("rubbish", [b"no database " * 1000, bytes(range(256)) * 64])
def test_a_file_that_is_no_database_is_reported_and_left_alone(path: Path, rubbish: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(rubbish)
    with pytest.raises(StoreUnusable, match=r"transcripts\.db: file is not a database \(--store"):
        acquire(path)
    assert path.read_bytes() == rubbish


def test_a_place_where_no_file_can_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "transcripts.db", tmp_path, Path("/proc/livecaption/transcripts.db")):
        with pytest.raises(StoreUnusable) as refusal:
            acquire(path)
        assert str(path) in refusal.value.message
        assert "\n" not in refusal.value.message


def test_a_disk_that_is_full_fails_the_whole_transaction_and_the_next_one_works(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session(), [final("One.")], ended=False)
        (n_pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {n_pages + 1}")
        long = [rows.append(SessionId("one"), final(10_000 * "x", utterance=n), n) for n in range(1, 9)]
        with pytest.raises(sqlite3.OperationalError, match="full"):
            database.write(long)
        (session,) = database.sessions(1)
        assert session.n_finals == 1
        database.execute("PRAGMA max_page_count = 1000000")
        database.write(long)
        assert len(list(database.finals(session))) == 9


def test_a_lock_of_another_program_is_waited_for_a_moment_only(path: Path) -> None:
    with opened(path) as database, locked_by_another(path), pytest.raises(sqlite3.OperationalError, match="locked"):
        database.write(rows.begin(new_session()))


def test_a_file_that_was_removed_does_not_come_back_empty(path: Path) -> None:
    acquire(path).close()
    path.unlink()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        Database(path)
