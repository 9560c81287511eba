"""Stores of earlier versions become stores of this one, with all that is in them."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from livecaption.errors import StoreUnusable
from livecaption.store import search
from livecaption.store.ownership import acquire
from livecaption.store.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from tests.support.cases import spread
from tests.support.stored import opened


def make_store_of(version: int, path: Path) -> None:
    """Make a file as that version has left it, with a session of two finals."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for step in MIGRATIONS[:version]:
            connection.executescript(step)
        connection.execute(
            "INSERT INTO session (id, title, private, state, started_at_ms) VALUES ('old', 'Council', 0, 'ended', 5)"
        )
        for utterance, text in enumerate(("The tram is late.", "It always is.")):
            connection.execute(
                "INSERT INTO final (session, utterance, text, start_ms, end_ms, confidence, latency_ms) "
                "VALUES (1, ?, ?, ?, ?, 0.5, 300)",
                (utterance, text, utterance * 1000, utterance * 1000 + 900),
            )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


def leave_open(path: Path, **values: int) -> None:
    """Let the session of the file wait for its publisher, with these values in the columns of that version."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE session SET state = 'open'")
        connection.execute(
            f"INSERT INTO resumption (session, start, resume_token_hash, {', '.join(values)}) "
            f"VALUES (1, '{{}}', 'hash', {', '.join('?' * len(values))})",
            tuple(values.values()),
        )
        connection.commit()


@pytest.mark.parametrize("version", spread(range(1, SCHEMA_VERSION + 1), 4))
def test_a_store_of_any_version_is_listed_found_exported_and_deleted_from(version: int, tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    make_store_of(version, path)
    with opened(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        for query in ("tram late", "council"):
            (session,) = database.sessions(10, None, search.terms(query))
            assert (session.id, session.duration_ms, session.n_finals, session.room) == ("old", 1900, 2, None)
        assert [final.text for final in database.finals(session)] == ["The tram is late.", "It always is."]
        list(database.delete("old"))
        assert database.sessions(10, None, search.terms("tram")) == []


def test_a_session_that_an_earlier_version_has_ended_expires_by_the_end_of_its_audio(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    make_store_of(SCHEMA_VERSION - 1, path)
    with opened(path) as database:
        for before_ms, is_there in ((5 + 1900, True), (5 + 1901, False)):
            list(database.expire(before_ms))
            assert (database.session("old") is not None) == is_there


def test_a_session_that_version_3_has_left_open_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    make_store_of(3, path)
    leave_open(path, life=2, settled_ms=5000)
    with opened(path) as database:
        session = database.interrupted("old")
        assert session is not None
        assert (session.generation, session.resume_ms([None])) == (3, 5000)


def test_the_finals_of_an_earlier_version_have_the_pauses_of_their_session(tmp_path: Path) -> None:
    """Their times are those on the wall. Without the pauses they would seem to cover audio that is still needed."""
    path = tmp_path / "transcripts.db"
    make_store_of(5, path)
    leave_open(path, checkpoint_ms=200, shift_ms=1500)
    with opened(path) as database:
        session = database.interrupted("old")
        assert session is not None
        assert (session.transcribed_ms, session.resume_ms([None])) == ({None: 400}, 400)


def test_a_store_that_a_migration_fails_in_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    make_store_of(1, path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE session_title (in_the_way)")
        connection.commit()
    with pytest.raises(StoreUnusable, match="already exists"):
        acquire(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'final_text'").fetchone() == (0,)


def test_a_store_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    with opened(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreUnusable, match="later version"):
        acquire(path)


def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE letter (text)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="another program"):
        acquire(path)
    assert path.read_bytes() == before
