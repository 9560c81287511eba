"""One file: what is written stays, what is deleted goes, a file that cannot be used is reported in a line."""

import contextlib
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livecaption.errors import StoreUnusable
from livecaption.events import TranslatedText, Translation
from livecaption.recognition import SessionId
from livecaption.store import rows, search
from livecaption.store.database import Database
from livecaption.store.ownership import acquire
from livecaption.store.rows import Resumption, RoomRecord, SessionState
from tests.support.stored import STARTED_AT_MS, bytes_of, fill, locked_by_another, new_session, opened
from tests.support.transcripts import final


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "transcripts.db"


# What is written


def test_a_session_is_there_from_its_begin_and_grows_with_its_finals(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("one", "Council", language=None), [], ended=False)
        session = database.session("one")
        assert session is not None
        assert (session.state, session.title, session.language, session.started_at_ms) == (
            SessionState.OPEN,
            "Council",
            None,
            STARTED_AT_MS,
        )
        finals = [final("Eins.", 0, 900, 0, language="de"), final("", 1000, 1500, 1), final("Two.", 2000, 2900, 2)]
        database.write([rows.append(session.id, each, seq) for seq, each in enumerate(finals)])
        grown = database.session("one")
        assert grown is not None
        assert (grown.language, grown.duration_ms, grown.n_finals) == ("de", 2900, 2)
        assert list(database.finals(grown)) == finals
        database.write(rows.end(session.id, 4000))
        ended = database.session("one")
        assert ended is not None
        assert (ended.state, ended.duration_ms) == (SessionState.ENDED, 4000)


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


def test_a_row_that_is_written_twice_is_there_once(path: Path) -> None:
    """A commit may fail after it was done, and is tried again."""
    with opened(path) as database:
        for _ in range(2):
            fill(database, new_session(), [final("The tram.")])
        (session,) = database.sessions(10)
        assert (session.n_finals, len(list(database.finals(session)))) == (1, 1)
        assert len(database.excerpts(session, search.terms("tram"))) == 1


def test_a_statement_that_can_never_be_written_costs_the_others_nothing(path: Path) -> None:
    with opened(path) as database:
        session_id = SessionId("one")
        statements = [
            *rows.begin(new_session()),
            rows.append(session_id, final("\ud800", utterance=0), 2),
            rows.append(session_id, final("Two.", start_ms=2**63, utterance=1), 3),
            rows.append(session_id, final("Three.", utterance=2), 4),
        ]
        assert database.write(statements) == 2
        assert [each.text for each in database.finals(database.sessions(1)[0])] == ["Three."]


def test_the_list_begins_with_the_newest_and_goes_on_from_any_of_them(path: Path) -> None:
    with opened(path) as database:
        for n in range(5):
            fill(database, new_session(str(n)), [])
        first = database.sessions(2)
        assert [session.id for session in first] == ["4", "3"]
        assert [session.id for session in database.sessions(9, first[-1].position)] == ["2", "1", "0"]


def test_a_position_in_the_list_is_not_given_again(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("one"), [])
        (one,) = database.sessions(1)
        list(database.delete("one"))
        fill(database, new_session("two"), [])
        assert database.sessions(1)[0].number > one.number


def test_a_session_that_was_open_when_the_server_died_is_interrupted(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("open"), [final("One.")], ended=False)
        fill(database, new_session("ended"), [final("One.")])
    with opened(path) as database:
        assert [(each.id, each.state) for each in database.sessions(10)] == [
            ("ended", SessionState.ENDED),
            ("open", SessionState.INTERRUPTED),
        ]


RESUMPTION = Resumption('{"type": "start"}', "hash of a token", None)


def test_translations_come_back_with_their_finals_and_go_with_them(path: Path) -> None:
    """One that comes twice, or for a final that is not there, changes nothing."""
    finals = [final("One.", 0, 900, 0), final("Two.", 1500, 2400, 1)]
    said = SessionId("said")
    german, french, again = (Translation(1, "de", "Zwei."), Translation(1, "fr", "Deux."), Translation(1, "de", "2"))
    with opened(path) as database:
        fill(database, new_session("said", resumption=RESUMPTION), finals, ended=False)
        late = [rows.translate(said, each, seq) for seq, each in ((5, german), (4, french), (6, again))]
        late += [rows.translate(SessionId("gone"), german, 7), rows.translate(said, Translation(9, "de", "Neun."), 8)]
        assert database.write(late) == 0
        translated = replace(finals[1], translations=(TranslatedText("fr", "Deux."), TranslatedText("de", "Zwei.")))
        assert list(database.finals(database.session("said"))) == [finals[0], translated]
    with opened(path) as database:
        (interrupted,) = database.interrupted()
        assert interrupted.events == ((2, finals[0]), (3, finals[1]), (4, french), (5, german))
        assert interrupted.finals == tuple(finals)
        list(database.delete("said"))
        assert database.execute("SELECT count(*) FROM translation").fetchone() == (0,)
        assert b"Deux" not in bytes_of(path.parent)


def test_a_session_that_was_open_can_go_on_with_all_its_data(path: Path) -> None:
    """Its finals with the numbers under which they were sent; `generation` counts the servers since."""
    finals = [final("One.", 0, 900, 0), final("Two.", 1500, 2400, 1)]
    with opened(path) as database:
        fill(database, new_session("open", resumption=RESUMPTION), finals, ended=False)
        fill(database, new_session("ended", resumption=RESUMPTION), finals)
        fill(database, new_session("a container"), finals, ended=False)
        database.write([rows.checkpoint(SessionId("open"), 2800, 700), rows.checkpoint(SessionId("open"), 2000)])
        assert database.interrupted() == []
    interrupted_at_ms: list[int] = []
    for generation in (1, 2, 3):
        with opened(path) as database:
            (interrupted,) = database.interrupted()
            interrupted_at_ms.append(interrupted.interrupted_at_ms)
            assert interrupted.record == database.session("open")
            assert (interrupted.generation, interrupted.resumption) == (generation, RESUMPTION)
            assert (interrupted.checkpoint_ms, interrupted.shift_ms, interrupted.resume_ms([None])) == (2800, 700, 2800)
            assert interrupted.events == ((2, finals[0]), (3, finals[1]))
            database.execute("UPDATE resumption SET interrupted_at_ms = ?", (generation,))
            if generation == 1:
                # Its publisher came back, and then this server died too.
                database.write(rows.reopen(SessionId("open")))
                assert interrupted.record.state is SessionState.INTERRUPTED
                assert database.sessions(9)[-1].state is SessionState.OPEN
    # Set again after the publisher was back, and not by a second death before that.
    assert interrupted_at_ms[1] > STARTED_AT_MS
    assert interrupted_at_ms[2] == 2


def test_a_session_goes_on_from_the_audio_that_each_of_its_channels_needs(path: Path) -> None:
    """A final is stored with its time on the wall; the pause before it is no audio."""
    left, right = final("Left.", 0, 900, 1, channel=0), final("Right.", 5500, 9400, 0, channel=1)
    with opened(path) as database:
        database.write(rows.begin(new_session(resumption=RESUMPTION)))
        database.write([rows.append(SessionId("one"), left, 2), rows.append(SessionId("one"), right, 3, shift_ms=5000)])
        database.write([rows.checkpoint(SessionId("one"), 600)])
    with opened(path) as database:
        (interrupted,) = database.interrupted()
        assert interrupted.events == ((2, left), (3, right))
        assert interrupted.transcribed_ms == {0: 900, 1: 4400}
        assert interrupted.resume_ms([0, 1]) == 900
        assert interrupted.resume_ms([0, 1, 2]) == 600
        assert interrupted.resume_ms([1]) == 4400


def test_finals_of_several_channels_are_read_in_the_order_of_their_starts(path: Path) -> None:
    finals = [
        final("Second.", 1000, 3000, 0, channel=1),
        final("First.", 0, 4000, 1, channel=0),
        final("Fourth.", 4500, 5000, 3, channel=1),
        final("Third.", 4000, 9000, 2, channel=0),
    ]
    with opened(path) as database:
        fill(database, new_session(), finals)
        (session,) = database.sessions(10)
        assert [each.text for each in database.finals(session)] == ["First.", "Second.", "Third.", "Fourth."]
        assert [each.channel for each in database.finals(session)] == [0, 1, 0, 1]


def test_a_session_that_nobody_came_back_to_stays_interrupted_and_cannot_go_on(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session(resumption=RESUMPTION), [final("One.")], ended=False)
    with opened(path) as database:
        database.write(rows.end(SessionId("one"), 4000))
        assert database.interrupted() == []
        (session,) = database.sessions(10)
        assert session.state is SessionState.INTERRUPTED
        assert database.execute("SELECT count(*) FROM resumption").fetchone() == (0,)


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


def test_a_session_that_was_never_there_is_not_deleted(path: Path) -> None:
    with opened(path) as database:
        assert list(database.delete("nobody")) == [False]


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


def test_of_a_session_that_is_deleted_while_it_is_open_nothing_more_is_kept(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session(), [final("One.")], ended=False)
        list(database.delete("one"))
        database.write([rows.append(SessionId("one"), final("Two.", utterance=1), 3)])
        database.write(rows.end(SessionId("one"), 9000))
        assert database.sessions(10) == []
        assert database.execute("SELECT count(*) FROM final").fetchone() == (0,)


def test_a_log_that_somebody_still_reads_is_reported_and_emptied_the_next_time(path: Path) -> None:
    with opened(path) as database, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        fill(database, new_session(), [final("Xylograph.")])
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM final").fetchone()
        with pytest.raises(sqlite3.OperationalError, match="still reads"):
            list(database.delete("one"))
        reader.execute("ROLLBACK")
        list(database.purge())
        assert b"Xylograph" not in bytes_of(path.parent)


def test_a_session_that_ended_before_a_time_expires_and_an_open_one_does_not(path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("old"), [final("Xylograph.", 0, 1000)])
        fill(database, new_session("longer"), [final("Two.", 0, 5000)])
        fill(database, new_session("open"), [final("Three.", 0, 1000)], ended=False)
        list(database.expire(STARTED_AT_MS + 1001))
        assert [session.id for session in database.sessions(10)] == ["open", "longer"]
        assert b"Xylograph" not in bytes_of(path.parent)


# Rooms


def a_room(name: str = "pycon", title: str = "", **values: Any) -> RoomRecord:
    return RoomRecord(name, title, "publisher", **{"reader_token_hash": None, "created_at_ms": STARTED_AT_MS, **values})


def test_a_room_has_its_parts_and_keeps_its_secrets(path: Path) -> None:
    with opened(path) as database:
        assert database.room("pycon") is None
        database.write(rows.put_room(a_room(), 10, STARTED_AT_MS))
        for name in ("one", "two"):
            fill(database, replace(new_session(name), room="pycon"), [final("Hello.")])
        fill(database, new_session("three"), [final("Hello.")])
        assert [part.id for part in database.parts(a_room())] == ["one", "two"]
        assert {session.id: session.room for session in database.sessions(10)} == {
            "one": "pycon",
            "two": "pycon",
            "three": None,
        }
        changed = a_room(title="PyCon", ended_at_ms=STARTED_AT_MS + 5, event=3, reader_token_hash="other")
        database.write(rows.put_room(replace(changed, publisher_token_hash="another"), 10, STARTED_AT_MS))
        assert database.room("pycon") == database.room("PyCon") == changed


def test_a_room_has_the_parts_of_its_present_event(path: Path) -> None:
    with opened(path) as database:
        for event, name in ((1, "one"), (2, "two"), (2, "three")):
            database.write(rows.put_room(a_room(event=event), 10, STARTED_AT_MS))
            fill(database, replace(new_session(name, room="pycon"), event=event), [final("Hello.")])
        assert [part.id for part in database.parts(a_room(event=2))] == ["two", "three"]
        for name in ("two", "three"):
            list(database.delete(name))
        assert database.parts(a_room(event=2)) == []  # and not those of the event before
        assert [session.id for session in database.sessions(10)] == ["one"]


def test_rooms_that_wait_for_their_first_part_are_counted_and_none_is_pushed_out_by_others(path: Path) -> None:
    with opened(path) as database:
        for number in range(5):
            database.write(rows.put_room(a_room(f"waits{number}"), 3, STARTED_AT_MS))
        for number in range(5):
            database.write(rows.put_room(a_room(f"was{number}", event=1), 3, STARTED_AT_MS))
        assert all(database.room(f"waits{number}") for number in range(5))
        assert database.n_waiting_rooms(STARTED_AT_MS) == 5
        database.write(rows.put_room(a_room("waits0", event=1), 3, STARTED_AT_MS))
        fill(database, replace(new_session("one", room="waits0"), event=1), [final("Hello.")])
        assert database.n_waiting_rooms(STARTED_AT_MS) == 4


def test_a_room_that_was_ended_or_has_waited_too_long_keeps_no_place_from_others(path: Path) -> None:
    with opened(path) as database:
        database.write(rows.put_room(a_room("ended", ended_at_ms=STARTED_AT_MS), 3, STARTED_AT_MS))
        database.write(rows.put_room(a_room("old"), 3, STARTED_AT_MS))
        assert database.n_waiting_rooms(STARTED_AT_MS) == 1
        assert database.n_waiting_rooms(STARTED_AT_MS + 1) == 0
        for number in range(2):
            database.write(rows.put_room(a_room(f"r{number}", event=1), 3, STARTED_AT_MS + 1))
        assert [name for name in ("ended", "old", "r0", "r1") if database.room(name)] == ["old", "r0", "r1"]


def test_a_room_that_is_older_than_all_that_are_kept_is_stored_with_its_next_part(path: Path) -> None:
    with opened(path) as database:
        for name, event in (("first", 0), ("r0", 1), ("r1", 1), ("r2", 1), ("first", 1)):
            database.write(rows.put_room(a_room(name, event=event), 3, STARTED_AT_MS))
        fill(database, replace(new_session("one", room="first"), event=1), [final("Hello.")])
        assert [part.id for part in database.parts(a_room("first", event=1))] == ["one"]


def test_rooms_of_an_earlier_version_whose_names_differ_in_case_alone_are_all_found(path: Path) -> None:
    with opened(path) as database:
        for name in ("PyCon", "pycon", "PYCON"):
            database.write(rows.put_room(a_room(name), 10, STARTED_AT_MS))
        for name in ("PyCon", "pycon", "PYCON"):
            assert database.room(name) == a_room(name)


def test_of_rooms_whose_parts_are_gone_the_newest_are_kept_until_they_expire(path: Path) -> None:
    with opened(path) as database:
        for number in range(5):
            room = a_room(f"r{number}", created_at_ms=STARTED_AT_MS + number, event=1)
            database.write(rows.put_room(room, 3, STARTED_AT_MS))
            if number == 0:
                fill(database, replace(new_session("one"), room="r0"), [final("Hello.", 0, 10_000)])
        assert [number for number in range(5) if database.room(f"r{number}")] == [0, 2, 3, 4]
        list(database.expire(STARTED_AT_MS + 4))
        assert [number for number in range(5) if database.room(f"r{number}")] == [0, 4]
        list(database.delete("one"))
        assert database.room("r0") is not None  # a link that was shared stays until it expires
        list(database.expire(STARTED_AT_MS + 4))
        assert database.room("r0") is None


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
