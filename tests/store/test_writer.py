"""The thread that writes: everything in order, together where it can be, again where it failed."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.database import Database
from livecaption.store.ownership import acquire
from livecaption.store.store import RETRY_S
from livecaption.store.writer import Writer
from tests.support.eventually import TIMEOUT_FACTOR
from tests.support.stored import locked_by_another, new_session
from tests.support.transcripts import final

ONE = SessionId("one")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "transcripts.db"
    with closing(acquire(path)):
        yield path


@dataclass
class Notes:
    """The callbacks of a writer."""

    written: list[int] = field(default_factory=list)
    n_unwritten: int | None = None
    answers: list[bool | sqlite3.Error] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note_written(self, n: int) -> None:
        with self.changed:
            self.written.append(n)
            self.changed.notify_all()

    def note_closed(self, n: int) -> None:
        with self.changed:
            self.n_unwritten = n
            self.changed.notify_all()

    def note_answer(self, answer: bool | sqlite3.Error) -> None:
        with self.changed:
            self.answers.append(answer)
            self.changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, 20 * TIMEOUT_FACTOR)


@contextmanager
def writing(path: Path, retry_s: float = RETRY_S) -> Iterator[tuple[Writer, Notes]]:
    notes = Notes()
    started = Writer(partial(Database, path), notes.note_written, notes.note_closed, retry_s=retry_s)
    started.start()
    yield started, notes
    started.close()
    notes.until(lambda: notes.n_unwritten is not None)


def stored_texts(path: Path) -> list[str]:
    with closing(Database(path)) as database:
        return [each.text for session in database.sessions(10) for each in database.finals(session)]


def submit_session(to: Writer, n_finals: int) -> None:
    to.submit(*rows.begin(new_session()))
    for n in range(n_finals):
        to.submit(rows.append(ONE, final(str(n), utterance=n), seq=n))


def wait_for_failures(of: Writer, n: int) -> None:
    while of.n_failures < n:  # the time limit of the test is that of the wait
        time.sleep(0.005)


def test_all_that_waits_is_written_in_order_in_few_transactions(path: Path) -> None:
    notes = Notes()
    unstarted = Writer(partial(Database, path), notes.note_written, notes.note_closed)
    submit_session(unstarted, 500)
    unstarted.start()
    notes.until(lambda: bool(notes.written))
    assert notes.written == [501]
    assert stored_texts(path) == [str(n) for n in range(500)]
    unstarted.close()
    notes.until(lambda: notes.n_unwritten == 0)


def test_waiting_entries_are_still_written_at_the_end(path: Path) -> None:
    with writing(path) as (open_writer, notes):
        submit_session(open_writer, 50)
    assert notes.n_unwritten == 0
    assert len(stored_texts(path)) == 50


def test_while_the_database_is_locked_everything_waits_and_is_written_when_it_is_not(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(path, retry_s=0.05) as (open_writer, notes):
        with locked_by_another(path):
            submit_session(open_writer, 3)
            wait_for_failures(open_writer, 3)
            assert open_writer.failing
            assert open_writer.n_waiting == 4
            assert notes.written == []
        notes.until(lambda: notes.written[-1:] == [4])
        assert not open_writer.failing
    assert stored_texts(path) == ["0", "1", "2"]
    # Reported once, not with each try, and never with what was said.
    assert [(record.levelname, record.name) for record in caplog.records] == [
        ("ERROR", "livecaption.store.writer"),
        ("WARNING", "livecaption.store.writer"),
    ]
    assert "database is locked" in caplog.text


def test_entries_that_wait_for_a_broken_database_are_bounded_and_the_rest_counted_as_lost(
    path: Path,
) -> None:
    notes = Notes()
    unstarted = Writer(partial(Database, path), notes.note_written, notes.note_closed, max_waiting=10)
    submit_session(unstarted, 12)
    assert (unstarted.n_waiting, unstarted.n_lost) == (10, 3)
    unstarted.start()
    unstarted.close()
    notes.until(lambda: notes.n_unwritten == 0)
    assert stored_texts(path) == [str(n) for n in range(9)]


def test_an_end_does_not_wait_for_a_database_that_does_not_work_and_reports_what_is_lost(path: Path) -> None:
    with locked_by_another(path), writing(path) as (open_writer, notes):
        submit_session(open_writer, 3)
    assert notes.n_unwritten == 4


def test_a_database_that_is_away_is_written_again_when_it_is_back(path: Path) -> None:
    """A file that was moved is not followed: what goes into it would be lost to everybody who looks at the path."""
    away = path.with_name("away.db")
    with writing(path, retry_s=0.05) as (open_writer, notes):
        with locked_by_another(path):
            submit_session(open_writer, 1)
            wait_for_failures(open_writer, 1)
            path.rename(away)
        wait_for_failures(open_writer, open_writer.n_failures + 2)
        assert notes.written == []
        away.rename(path)
        notes.until(lambda: notes.written == [2])
    assert stored_texts(path) == ["0"]


def test_finals_are_written_between_the_steps_of_a_deletion(path: Path) -> None:
    with writing(path) as (open_writer, notes):
        seen: list[list[str]] = []

        def chore(_: Database) -> Iterator[bool]:
            yield True
            submit_session(open_writer, 1)
            yield True
            seen.append(stored_texts(path))

        open_writer.do(chore, notes.note_answer)
        notes.until(lambda: notes.answers == [True])
    assert seen == [["0"]]


def test_nothing_is_deleted_before_entries_that_cannot_be_written_are(path: Path) -> None:
    """They would come after it, although they were there first."""
    with writing(path, retry_s=0.05) as (open_writer, notes):
        done: list[bool] = []

        def chore(_: Database) -> Iterator[bool]:
            done.append(True)
            yield True

        with locked_by_another(path):
            submit_session(open_writer, 1)
            open_writer.do(chore, notes.note_answer)
            open_writer.do(chore, notes.note_answer)
            notes.until(lambda: len(notes.answers) == 2)
        assert [str(answer) for answer in notes.answers] == 2 * ["database is locked"]
        assert done == []
        notes.until(lambda: notes.written == [2])
        open_writer.do(chore, notes.note_answer)
        notes.until(lambda: notes.answers[2:] == [True])


def test_a_deletion_that_fails_reaches_its_caller_and_ends_nothing(path: Path) -> None:
    with writing(path) as (open_writer, notes):
        with locked_by_another(path):
            open_writer.do(lambda database: database.delete("one"), notes.note_answer)
            notes.until(lambda: len(notes.answers) == 1)
        assert isinstance(notes.answers[0], sqlite3.OperationalError)
        submit_session(open_writer, 1)
    assert stored_texts(path) == ["0"]
