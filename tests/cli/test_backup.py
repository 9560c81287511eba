"""`livecaption backup`, as an operator runs it."""

import os
from pathlib import Path

import pytest

from livecaption.cli import main
from livecaption.store.backup import snapshot
from tests.support.disks import fill_up, small_disk
from tests.support.stored import fill, new_session, opened
from tests.support.transcripts import final


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store that the environment names, with one session."""
    path = tmp_path / "transcripts.db"
    with opened(path) as database:
        fill(database, new_session("council"), [final("The tram."), final("A bus.", 1000, 1900, 1)])
    monkeypatch.setenv("LIVECAPTION_STORE", str(path))
    return path


def test_the_contents_of_the_backup_are_counted(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "backup.db"
    assert main(["backup", str(file)]) == 0
    assert capsys.readouterr() == (f"{file} has 1 session with 2 finals\n", "")
    with snapshot(file) as copy:
        assert [session.id for session in copy.sessions(9)] == ["council"]


def test_a_database_is_backed_up_by_its_own_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "b.db", "--store", "postgresql://me:s3cret@host/db"]) == 2
    stderr = capsys.readouterr().err
    assert "postgresql://host/db is backed up by pg_dump of PostgreSQL" in stderr
    assert "s3cret" not in stderr


def test_a_file_is_replaced_only_if_that_is_asked_for(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "backup.db"
    file.write_text("mine")
    assert main(["backup", str(file), "--store", str(path)]) == 1
    reason = "the file exists: --overwrite replaces it"
    assert capsys.readouterr() == ("", f"livecaption: cannot back up {path} to {file}: {reason}\n")
    assert file.read_text() == "mine"
    assert main(["backup", str(file), "--store", str(path), "--overwrite"]) == 0
    assert file.read_bytes().startswith(b"SQLite format 3")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("no/directory/backup.db", "No such file or directory"),
        ("transcripts.db/backup.db", "Not a directory"),
        (".", "it is a directory"),
        (300 * "b", "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_ends_it_with_one_line_and_code_1(
    file: str, reason: str, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main(["backup", str(tmp_path / file)]) == 1
    stdout, stderr = capsys.readouterr()
    assert (stdout, stderr.count("\n")) == ("", 1)
    assert stderr.endswith(f": {reason}\n")
    assert sorted(tmp_path.iterdir()) == before


def test_a_device_or_a_pipe_is_never_replaced(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    (link := tmp_path / "link").symlink_to(fifo)
    read_end, write_end = os.pipe()
    for file in (fifo, link, Path(f"/dev/fd/{write_end}")):
        for options in ([], ["--overwrite"]):
            assert main(["backup", str(file), *options]) == 1
            reason = "it is not a regular file"
            assert capsys.readouterr() == ("", f"livecaption: cannot back up {path} to {file}: {reason}\n")
    os.close(read_end)
    os.close(write_end)
    assert fifo.is_fifo()


def test_a_full_disk_ends_it_with_one_line_and_leaves_no_file(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        filler = fill_up(disk)
        assert main(["backup", str(disk / "backup.db")]) == 1
        assert capsys.readouterr().err.endswith("database or disk is full\n")
        assert list(disk.iterdir()) == [filler]


def test_without_a_store_there_is_nothing_to_back_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", str(tmp_path / "backup.db"), "--store", "none"]) == 2
    assert "with --store none there are no transcripts" in capsys.readouterr().err


def test_a_path_below_an_unknown_home_is_a_wrong_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", str(tmp_path / "backup.db"), "--store", "~nobody-of-this-name/transcripts.db"]) == 2
    assert "the home directory is unknown" in capsys.readouterr().err
