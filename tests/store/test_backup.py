"""Backups of a store in use have all of one moment and nothing that was deleted. A restoration replaces nothing."""

import contextlib
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from livecaption.errors import StoreFailed, StoreUnusable
from livecaption.events import CaptionWord, SpeakerNamed, Translation, Turn
from livecaption.recognition import SessionId
from livecaption.store import backup, rows, search
from livecaption.store.backup import Contents, RestoredSession, ShorterSession, back_up, restore, snapshot
from livecaption.store.database import Database
from livecaption.store.rows import Resumption, RoomRecord, SessionState
from livecaption.store.schema import MIGRATIONS, SCHEMA_VERSION
from tests.store.test_schema import make_store_of
from tests.support.disks import make_read_only, small_disk
from tests.support.stored import STARTED_AT_MS, bytes_of, fill, new_session, opened
from tests.support.transcripts import final

RESUMPTION = Resumption('{"type": "start"}', "hash-of-a-token", None)
ROOM = RoomRecord("pycon", "PyCon", "hash-of-a-secret", None, STARTED_AT_MS, event=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a store with two sessions that are over."""
    path = tmp_path / "data" / "transcripts.db"
    with opened(path) as database:
        fill(
            database,
            new_session("council", "Council", started_at_ms=1000),
            [final("The tram."), final("A bus.", 2000, 2900, 1)],
        )
        fill(database, new_session("lecture", "Lecture", started_at_ms=2000), [final("On moss.")])
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


def restored(file: Path, path: Path) -> int:
    return sum(isinstance(each, RestoredSession) for each in restore(file, path))


def ids(path: Path) -> list[str]:
    with snapshot(path) as database:
        return [session.id for session in database.sessions(-1)]


def content(database: Database) -> list[object]:
    """Return all sessions, the newest first, as people see them, with their finals."""
    return [
        (replace(session, number=0), list(database.finals(session)), database.tracks(session))
        for session in database.sessions(-1)
    ]


# Backups


def test_a_backup_has_all_that_is_stored_in_one_file_that_only_its_user_can_read(path: Path, file: Path) -> None:
    assert back_up(path, file) == Contents(n_sessions=2, n_finals=3)
    assert [each.name for each in file.parent.iterdir() if each.is_file()] == ["backup.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes()[18:20] == b"\x01\x01"  # without a log, so that it can be read on a read-only disk too
    with snapshot(path) as stored, snapshot(file) as copy:
        assert content(copy) == content(stored)
        assert [each.id for each in copy.sessions(-1, None, search.terms("tram"))] == ["council"]


def test_a_backup_has_finals_that_are_only_in_the_log_yet(path: Path, file: Path) -> None:
    """A plain copy of the database file alone has not."""
    with opened(path) as database:
        fill(database, new_session("new"), [final("Just now.")])
        assert b"Just now." not in path.read_bytes()
        assert back_up(path, file).n_sessions == 3
    assert b"Just now." in file.read_bytes()


def test_a_backup_while_finals_are_written_has_those_of_one_moment_and_no_write_fails(path: Path, file: Path) -> None:
    done = threading.Event()
    failures: list[sqlite3.Error] = []

    def write(database: Database) -> None:
        n_finals = 0
        while not done.is_set():
            try:
                # Two rows in each transaction: a moment has both or none.
                pair = [final(f"Number {n_finals + n}.", 0, 1, n_finals + n) for n in (0, 1)]
                database.write([rows.append(SessionId("live"), each, each.utterance) for each in pair])
            except sqlite3.Error as error:
                failures.append(error)
            n_finals += 2

    with opened(path) as database:
        fill(database, new_session("live", started_at_ms=3000), [], ended=False)
        writer = threading.Thread(target=write, args=(database,))
        writer.start()
        try:
            sizes = [back_up(path, file, overwrite=True).n_finals for _ in range(10)]
        finally:
            done.set()
            writer.join()
    assert failures == []
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]
    with snapshot(file) as copy:
        finals = list(copy.finals(copy.sessions(1)[0]))
        assert [each.utterance for each in finals] == list(range(len(finals)))
        assert len(finals) % 2 == 0


def test_nothing_of_a_deleted_session_can_be_read_in_a_backup(path: Path, file: Path) -> None:
    """That is so even if its words are still in the index and the log, because the deletion is under way."""
    with opened(path) as database:
        fill(database, new_session("secret", "Quetzalcoatl"), [final("A xylograph.")])
        steps = database.delete("secret")
        assert next(steps)
        assert b"xylograph" in bytes_of(path.parent)
        back_up(path, file)
    for trace in (b"xylograph", b"uetzalcoatl", b"secret"):
        assert trace not in file.read_bytes()


def test_a_session_that_is_open_is_interrupted_in_a_backup_and_has_no_hashes_of_tokens(path: Path, file: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("live", resumption=RESUMPTION), [final("So far.")], ended=False)
        back_up(path, file)
        assert database.session("live") is not None
        assert b"hash-of-a-token" in bytes_of(path.parent)
    with snapshot(file) as copy:
        session = copy.session("live")
        assert session is not None
        assert (session.state, session.n_finals, copy.interruptions()) == (SessionState.INTERRUPTED, 1, [])
    assert b"hash-of-a-token" not in file.read_bytes()


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION - 1])
def test_a_backup_of_a_store_of_an_earlier_version_is_of_this_one(version: int, tmp_path: Path, file: Path) -> None:
    old = tmp_path / "old.db"
    make_store_of(version, old)
    before = old.read_bytes()
    assert back_up(old, file) == Contents(n_sessions=1, n_finals=2)
    assert old.read_bytes() == before
    with opened(file) as database:
        assert [session.id for session in database.sessions(9)] == ["old"]


def test_a_backup_is_a_store(path: Path, file: Path) -> None:
    back_up(path, file)
    with opened(file) as database:
        fill(database, new_session("new"), [final("It goes on.")])
        assert len(database.sessions(9)) == 3


def make_later(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def make_foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmark (address TEXT)")


def damage(path: Path) -> None:
    """Overwrite pages in the middle of the file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(8192) + data[len(data) // 2 + 8192 :])


UNUSABLE: list[tuple[Callable[[Path], object], str]] = [
    (Path.unlink, "No such file or directory"),
    (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    (lambda path: path.write_bytes(b""), "it is not a store of livecaption"),
    (lambda path: path.write_bytes(8192 * b"x"), "file is not a database"),
    (make_foreign, "it is not a store of livecaption"),
    (make_later, "it was written by a later version of livecaption"),
    (damage, "it is damaged|database disk image is malformed"),
]


@pytest.mark.parametrize(("spoil", "reason"), UNUSABLE)
def test_a_store_that_cannot_be_copied_is_refused_and_the_backup_of_before_is_unchanged(
    spoil: Callable[[Path], object], reason: str, path: Path, file: Path
) -> None:
    with opened(path):
        pass  # its log is gone when the last connection is closed
    file.write_text("the backup of yesterday")
    spoil(path)
    with pytest.raises(StoreFailed, match=f"^cannot back up {path} to {file}: ({reason})$"):
        back_up(path, file, overwrite=True)
    assert file.read_text() == "the backup of yesterday"
    assert sorted(each.name for each in file.parent.iterdir()) == ["backup.db", "data"]


@pytest.mark.parametrize(("spoil", "reason"), UNUSABLE)
def test_a_file_that_is_no_backup_is_not_restored(
    spoil: Callable[[Path], object], reason: str, path: Path, file: Path
) -> None:
    back_up(path, file)
    spoil(file)
    before = path.read_bytes()
    with pytest.raises(StoreFailed, match=f"^cannot read {file}: ({reason})$"):
        restored(file, path)
    assert path.read_bytes() == before
    with pytest.raises(StoreFailed):
        restored(file, path.with_name("new.db"))
    assert not path.with_name("new.db").exists()


def test_a_backup_never_replaces_the_store_itself(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(StoreFailed, match="that is the store itself"):
            back_up(path, name, overwrite=True)
    assert ids(path) == ["lecture", "council"]


@pytest.mark.parametrize("is_done", [True, False])
def test_of_two_backups_to_one_file_the_later_one_is_made(
    is_done: bool, path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier one fails, whether the later one is done by then or not."""
    others: list[threading.Thread] = []
    goes_on = threading.Event()
    contents = backup._contents

    def begin_another(copy: Database) -> Contents:
        """Let another backup begin when this one is nearly done."""
        if others:
            reached.set()
            assert goes_on.wait(20)
        else:
            others.append(threading.Thread(target=back_up, args=(path, file)))
            others[0].start()
            assert reached.wait(20)
            if is_done:
                goes_on.set()
                others[0].join()
        return contents(copy)

    reached = threading.Event()
    monkeypatch.setattr(backup, "_contents", begin_another)
    with pytest.raises(StoreFailed, match="another backup writes the same file"):
        back_up(path, file)
    goes_on.set()
    others[0].join()
    assert ids(file) == ["lecture", "council"]
    assert sorted(each.name for each in file.parent.iterdir()) == ["backup.db", "data"]


def test_a_store_on_a_disk_that_became_read_only_can_be_backed_up(path: Path, file: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        back_up(path, disk / "transcripts.db")
        with opened(disk / "transcripts.db"):
            pass
        (disk / "transcripts.db.lock").unlink()
        make_read_only(disk)
        assert back_up(disk / "transcripts.db", file).n_sessions == 2
        for name in ("transcripts.db", "new.db"):
            with pytest.raises(StoreUnusable, match="cannot keep transcripts in"):
                restored(file, disk / name)


def killed_during(program: str, *arguments: Path) -> None:
    """Run a program that kills itself."""
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=False)
    assert done.returncode == -signal.SIGKILL


BACKUP_KILLED_BEFORE_ITS_END = """
import os, sys
from pathlib import Path
from livecaption.store import backup
backup._contents = lambda copy: os.kill(os.getpid(), 9)
backup.back_up(Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)
"""


@pytest.mark.processes
def test_a_backup_that_is_killed_leaves_the_one_before_and_the_next_one_cleans_up(path: Path, file: Path) -> None:
    file.write_text("the backup of yesterday")
    killed_during(BACKUP_KILLED_BEFORE_ITS_END, path, file)
    assert file.read_text() == "the backup of yesterday"
    back_up(path, file, overwrite=True)
    assert sorted(each.name for each in file.parent.iterdir()) == ["backup.db", "data"]
    assert ids(file) == ["lecture", "council"]


# Restorations


def test_a_deleted_session_comes_back_as_it_was_and_where_it_was(path: Path, file: Path) -> None:
    words = (CaptionWord("Old", 0, 200, 0.5), CaptionWord("trees.", 250, 700, 0.75))
    with opened(path) as database:
        database.write(rows.put_room(ROOM, 10, 0))
        turns = (Turn(2, "Old ", 0, 200), Turn(None, "trees.", 250, 700))
        trees = replace(final("Old trees.", 0, 700, 0), words=words, channel=1, turns=turns)
        fill(
            database,
            replace(new_session("trees", "Trees", started_at_ms=1500, private=True, room="pycon"), event=1),
            [trees, final("", 800, 900, 1)],
        )
        database.write([rows.translate(SessionId("trees"), Translation(0, "de", "Alte Bäume."), 9)])
        database.write([rows.name_speaker(SessionId("trees"), SpeakerNamed(2, "Ada"))])
        before = content(database)
        back_up(path, file)
        list(database.delete("trees"))
        assert restored(file, path) == 1
        assert content(database) == before
        assert [each.id for each in database.sessions(9)] == ["lecture", "trees", "council"]
        assert [each.id for each in database.sessions(9, None, search.terms("old tree"))] == ["trees"]
        assert [each.id for each in database.parts(ROOM)] == ["trees"]
        assert restored(file, path) == 0


def test_nothing_that_is_in_the_store_is_replaced(path: Path, file: Path) -> None:
    back_up(path, file)
    with opened(path) as database:
        list(database.rename("council", "A better title", {}))
        fill(database, new_session("new", started_at_ms=3000), [final("New.")])
        before = content(database)
        assert restored(file, path) == 0
        assert content(database) == before


def test_a_session_that_a_later_backup_has_more_of_is_named_and_can_be_restored_once_it_is_deleted(
    path: Path, file: Path
) -> None:
    back_up(path, file)
    with opened(path) as database:
        database.write([rows.append(SessionId("council"), final("A bicycle.", 4000, 4900, 2), 9)])
    later = file.with_name("later.db")
    back_up(path, later)
    path.unlink()
    restored(file, path)
    assert list(restore(later, path)) == [ShorterSession("council")]
    assert list(restore(file, path)) == []
    with opened(path) as database:
        list(database.delete("council"))
        assert restored(later, path) == 1
    assert list(restore(file, path)) == []  # the store has more
    with snapshot(path) as stored, snapshot(later) as copy:
        assert content(stored) == content(copy)


def test_sessions_of_a_lost_store_stand_behind_those_that_a_new_one_has_begun_with(path: Path, file: Path) -> None:
    """Their numbers in the lists of both stores are the same."""
    back_up(path, file)
    path.unlink()
    with opened(path) as database:
        fill(database, new_session("live", started_at_ms=9000), [final("Now.")], ended=False)
        assert restored(file, path) == 2
        database.write([rows.append(SessionId("live"), final("And then.", 1000, 1900, 1), 5)])
        first = database.sessions(2)
        assert [each.id for each in first] == ["live", "lecture"]
        assert [each.id for each in database.sessions(2, first[-1].position)] == ["council"]
        assert [each.text for each in database.finals(first[0])] == ["Now.", "And then."]


def test_rooms_come_back_with_their_secrets(path: Path, file: Path) -> None:
    waiting = replace(ROOM, name="moss", event=0)
    with opened(path) as database:
        database.write([*rows.put_room(ROOM, 10, 0), *rows.put_room(waiting, 10, 0)])
    back_up(path, file)
    path.unlink()
    restored(file, path)
    with opened(path) as database:
        assert (database.room("pycon"), database.room("moss")) == (ROOM, waiting)


def test_a_part_of_a_room_that_somebody_else_has_made_again_is_not_shown_to_its_readers(path: Path, file: Path) -> None:
    with opened(path) as database:
        database.write(rows.put_room(ROOM, 10, 0))
        fill(database, replace(new_session("theirs", room="pycon"), event=1), [final("Theirs.")])
    back_up(path, file)
    path.unlink()
    other = replace(ROOM, name="PyCon", publisher_token_hash="hash-of-another", event=0)
    with opened(path) as database:
        database.write(rows.put_room(other, 10, 0))
        assert restored(file, path) == 3
        assert database.room("pycon") == other
        assert database.parts(other) == []
        session = database.session("theirs")
        assert session is not None
        assert session.room == "PyCon"


def test_a_later_backup_of_a_room_does_not_mix_its_events(path: Path, file: Path) -> None:
    later = file.with_name("later.db")
    with opened(path) as database:
        database.write(rows.put_room(ROOM, 10, 0))
        fill(database, replace(new_session("monday", room="pycon"), event=1), [final("Monday.")])
        back_up(path, file)
        database.write(rows.put_room(replace(ROOM, event=3), 10, 0))
        for name, event in (("second", 2), ("tuesday", 3)):
            fill(database, replace(new_session(name, room="pycon"), event=event), [final(name)])
        back_up(path, later)
    path.unlink()
    assert restored(file, path) == 3
    assert restored(later, path) == 2
    with opened(path) as database:
        for event, parts in ((1, ["monday"]), (2, []), (3, [])):
            assert [each.id for each in database.parts(replace(ROOM, event=event))] == parts


def test_a_restoration_makes_the_store_if_there_is_none(path: Path, file: Path, tmp_path: Path) -> None:
    back_up(path, file)
    new = tmp_path / "new" / "transcripts.db"
    assert restored(file, new) == 2
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert ids(new) == ["lecture", "council"]


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION - 1])
def test_a_backup_and_a_store_of_an_earlier_version_are_migrated(version: int, path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    make_store_of(version, old)
    assert restored(old, path) == 1
    assert ids(path) == ["lecture", "council", "old"]
    assert restored(path, old) == 2
    assert ids(old) == ["lecture", "council", "old"]


def test_a_store_of_a_later_version_is_not_written_to(path: Path, file: Path) -> None:
    back_up(path, file)
    make_later(path)
    with pytest.raises(StoreUnusable, match="a later version of livecaption"):
        restored(file, path)


RESTORATION_KILLED_IN_MID_SESSION = """
import os, sys
from pathlib import Path
from livecaption.store import backup
done = 0
columns = backup._columns
def killing(copy, table, without):
    global done
    done += table == "translation"  # after all finals of a session
    if done == 2:
        os.kill(os.getpid(), 9)
    return columns(copy, table, without)
backup._columns = killing
list(backup.restore(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.mark.processes
def test_a_restoration_that_is_killed_leaves_whole_sessions_only_and_can_be_done_again(path: Path, file: Path) -> None:
    back_up(path, file)
    with snapshot(file) as copy:
        before = content(copy)
    path.unlink()
    killed_during(RESTORATION_KILLED_IN_MID_SESSION, file, path)
    with snapshot(path) as database:
        assert content(database) == before[1:]  # the oldest is the first
    assert restored(file, path) == 1
    with snapshot(path) as database:
        assert content(database) == before
