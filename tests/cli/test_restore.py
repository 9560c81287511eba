"""`livecaption restore`, as an operator runs it."""

import time
from pathlib import Path

import pytest

from livecaption.cli import main
from livecaption.store.backup import back_up
from tests.support.disks import fill_up, small_disk
from tests.support.postgresql import Cluster
from tests.support.stored import fill, new_session, opened
from tests.support.transcripts import final

NOW_MS = round(time.time() * 1000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A backup with a session of now and one of a year ago."""
    with opened(tmp_path / "lost.db") as database:
        fill(database, new_session("old", started_at_ms=NOW_MS - 365 * 86_400_000), [final("Long ago.")])
        fill(database, new_session("new", started_at_ms=NOW_MS), [final("Now.")])
    file = tmp_path / "backup.db"
    back_up(tmp_path / "lost.db", file)
    return file


def test_restored_sessions_are_counted_and_those_that_a_server_will_delete(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "transcripts.db"
    assert main(["restore", str(file), "--store", str(path)]) == 0
    deleted = "1 of them ended more than 30 days ago, and a server deletes them (--keep-days)"
    assert capsys.readouterr() == (f"restored 2 sessions into {path}\n{deleted}\n", "")
    assert main(["restore", str(file), "--store", str(path)]) == 0
    assert capsys.readouterr().out == f"restored 0 sessions into {path}\n"


def test_sessions_of_which_the_backup_has_more_are_counted(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.db"
    with opened(path) as database:
        fill(database, new_session("new", started_at_ms=NOW_MS), [])
    assert main(["restore", str(file), "--store", str(path)]) == 0
    shorter = "kept 1 session with fewer captions than the backup: delete and restore again"
    restored, _, *rest = capsys.readouterr().out.splitlines()
    assert (restored, rest) == (f"restored 1 session into {path}", [shorter])


def test_a_server_that_keeps_all_deletes_nothing_of_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVECAPTION_KEEP_DAYS", "0")
    assert main(["restore", str(file), "--store", str(tmp_path / "new.db")]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_transcripts_move_from_a_file_into_a_database_and_are_exported_as_before(
    file: Path, tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    address, place = cluster.empty_database(), f"postgresql://127.0.0.1:{cluster.port}/postgres"
    for expected in ("restored 2 sessions", "restored 0 sessions"):
        assert main(["restore", str(file), "--store", address]) == 0
        assert capsys.readouterr().out.splitlines()[0] == f"{expected} into {place}"
    for name, store in (("before", str(file)), ("after", address)):
        assert main(["export", "--all", str(tmp_path / name), "--format", "json,vtt", "--store", store]) == 0
    before, after = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("before", "after"))
    assert len(before) == 4
    assert after == before


def test_a_database_that_cannot_be_reached_ends_it_with_one_line_without_the_password(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["restore", str(file)], ["export", "--all", str(file.with_name("there"))]):
        assert main([*command, "--store", "postgresql://me:s3cret@127.0.0.1:1/db"]) == 1
        stderr = capsys.readouterr().err
        assert stderr.endswith("postgresql://127.0.0.1:1/db: nothing answers there\n")
        assert stderr.count("\n") == 1


def test_a_file_that_is_no_backup_ends_it_with_one_line_and_code_1(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("hello")
    assert main(["restore", str(file), "--store", str(tmp_path / "new.db")]) == 1
    assert capsys.readouterr() == ("", f"livecaption: cannot read {file}: file is not a database\n")


def test_a_full_disk_ends_it_with_one_line(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "transcripts.db"
        with opened(path):
            pass
        filler = fill_up(disk)
        assert main(["restore", str(file), "--store", str(path)]) == 1
        assert "full" in capsys.readouterr().err
        filler.unlink()
        with opened(path) as database:
            assert database.sessions(9) == []
        assert main(["restore", str(file), "--store", str(path)]) == 0
