"""`livecaption export`, as an operator runs it."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from livecaption.cli import main
from livecaption.cli.export import MAX_TITLE_BYTES, file_stem
from livecaption.events import SpeakerNamed, Translation, Turn
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.rows import Resumption, RoomRecord
from tests.support.disks import fill_up, small_disk
from tests.support.stored import STARTED_AT_MS, fill, new_session, opened
from tests.support.transcripts import final

FIRST = "2026-02-02T02-40-00Z_A-lecture_"
SECOND = "2026-02-02T02-41-00Z_"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two parts of a room, of which one is private and translated, and a session without captions."""
    path = tmp_path / "transcripts.db"
    room = RoomRecord("pycon", "PyCon", "hash", None, STARTED_AT_MS, event=1)
    first = new_session("one", "A lecture", started_at_ms=STARTED_AT_MS, private=True, room="pycon")
    second = new_session("two", started_at_ms=STARTED_AT_MS + 60_000, room="pycon")
    with opened(path) as database:
        database.write(rows.put_room(room, 10, 0))
        fill(database, replace(first, event=1), [final("Old trees.", 0, 900), final("Moss.", 5000, 5900, 1)])
        database.write([rows.translate(SessionId("one"), Translation(0, "de", "Alte Bäume."), 9)])
        fill(database, replace(second, event=1), [final("Questions?")])
        fill(database, new_session("empty"), [])
    monkeypatch.setenv("LIVECAPTION_STORE", str(path))
    return path


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def text_of(directory: Path, pattern: str) -> str:
    [file] = directory.glob(pattern)
    return file.read_text(encoding="utf-8")


def test_each_session_and_room_has_files_in_all_formats_and_tracks(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there"
    assert main(["export", "--all", str(there)]) == 0
    assert text_of(there, f"{FIRST}????????.txt") == "Old trees.\nMoss.\n"
    assert text_of(there, f"{FIRST}*.de.txt") == "Alte Bäume.\nMoss.\n"
    assert text_of(there, f"{FIRST}*.de.vtt").startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert json.loads(text_of(there, f"{FIRST}*.json"))["captions"][0]["translations"] == [
        {"language": "de", "text": "Alte Bäume."}
    ]
    assert text_of(there, f"{SECOND}*.txt") == "Questions?\n"
    whole = "2026-02-02T02-40-00Z_PyCon-all-parts_"
    assert text_of(there, f"{whole}????????.txt") == "Old trees.\nMoss.\nQuestions?\n"
    assert "00:01:00,000 --> " in text_of(there, f"{whole}????????.srt")
    assert len(names(there)) == 7 + 4 + 7
    assert capsys.readouterr().out.endswith("wrote 18 files of 3 transcripts, kept 0\n")


def test_speakers_are_named_and_those_of_a_later_part_of_a_room_have_the_next_numbers(
    path: Path, tmp_path: Path
) -> None:
    room = RoomRecord("talks", "Talks", "hash", None, STARTED_AT_MS, event=1)
    with opened(path) as database:
        database.write(rows.put_room(room, 10, 0))
        for number, (text, name) in enumerate((("Welcome.", "Ada"), ("Thank you.", "Bob"))):
            session = new_session(f"part {number}", started_at_ms=STARTED_AT_MS + 60_000 * number, room="talks")
            said = [
                final(text, 0, 900, turns=[Turn(2, text, 0, 900)]),
                final("Hm.", 950, 1200, 1, turns=[Turn(1, "Hm.", 950, 1200)]),
            ]
            fill(database, replace(session, event=1), said)
            database.write([rows.name_speaker(session.id, SpeakerNamed(2, name))])
    there = tmp_path / "there"
    assert main(["export", "--all", str(there), "--format", "txt,vtt"]) == 0
    assert text_of(there, "*Talks*.txt") == "Ada: Welcome.\nSpeaker 1: Hm.\nBob: Thank you.\nSpeaker 3: Hm.\n"
    assert text_of(there, "*Talks*.vtt").count("<v ") == 4


def test_only_the_user_can_read_them(path: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert main(["export", "--all", str(there), "--format", "txt"]) == 0
    assert stat.S_IMODE(there.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in there.iterdir()} == {0o600}


def test_no_name_of_a_file_has_an_id_because_that_would_give_access(path: Path, tmp_path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("pT2xh0c9Qm3v1b7yKfW8eA", "Moss"), [final("Moss.")])
    assert main(["export", "--all", str(tmp_path / "there"), "--format", "txt"]) == 0
    assert not any("pT2x" in name for name in names(tmp_path / "there"))


def test_files_that_exist_are_refused_kept_or_replaced(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--all", str(tmp_path / "there"), "--format", "txt,vtt"]
    assert main(command) == 0
    before = names(tmp_path / "there")
    [file] = (tmp_path / "there").glob(f"{SECOND}*.txt")
    file.write_text("mine")
    capsys.readouterr()
    assert main(command) == 1
    stdout, stderr = capsys.readouterr()
    assert (stdout, stderr.count("\n")) == ("", 1)
    assert stderr.endswith(", 6 more exist: --overwrite replaces, --skip-existing keeps\n")
    assert main([*command, "--skip-existing"]) == 0
    assert capsys.readouterr().out == "wrote 0 files of 3 transcripts, kept 10\n"
    assert file.read_text() == "mine"
    assert main([*command, "--overwrite"]) == 0
    assert file.read_text() == "Questions?\n"
    assert names(tmp_path / "there") == before


@pytest.mark.parametrize("existing", [[], ["--overwrite"], ["--skip-existing"]])
def test_a_session_that_is_not_over_is_not_kept_half(
    existing: list[str], path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A later export with --skip-existing would keep its file as it is."""
    live = new_session("live", "Live", resumption=Resumption("{}", "hash", None))
    with opened(path) as database:
        fill(database, live, [final("So far.")], ended=False)
        command = ["export", "--all", str(tmp_path / "there"), "--format", "txt"]
        assert main([*command, *existing]) == 0
        assert list((tmp_path / "there").glob("*Live*")) == []
        assert capsys.readouterr().out.endswith("left out 1 transcript of sessions that are not over\n")
        # As a server does that crashed and started again.
        database.execute("UPDATE session SET state = 'interrupted' WHERE state = 'open'")
        assert main([*command, "--overwrite"]) == 0
        assert list((tmp_path / "there").glob("*Live*")) == []
        database.write([*rows.end(SessionId("live"), 900)])
        assert main([*command, "--skip-existing"]) == 0
        assert text_of(tmp_path / "there", "*Live*.txt") == "So far.\n"


def test_a_file_that_cannot_be_written_or_read_ends_it_with_one_line_and_code_1(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--all", str(path)]) == 1
    assert capsys.readouterr() == ("", f"livecaption: --all {path}: it is not a directory\n")
    missing = tmp_path / "missing.db"
    assert main(["export", "--all", str(tmp_path / "there"), "--store", str(missing)]) == 1
    assert capsys.readouterr() == ("", f"livecaption: cannot read {missing}: No such file or directory\n")
    assert not (tmp_path / "there").exists()
    with small_disk(tmp_path / "disk") as disk:
        filler = fill_up(disk)
        assert main(["export", "--all", str(disk), "--format", "txt"]) == 1
        assert capsys.readouterr().err.endswith(".txt: No space left on device\n")
        assert names(disk) == [filler.name]


@pytest.mark.parametrize(
    ("title", "safe"),
    [
        ("A lecture", "A-lecture"),
        ("", ""),
        ("../../etc/passwd", "etc-passwd"),
        ('CON: <a> | "b" \\ c? * \x00\n.', "CON-a-b-c"),
        ("Grüße", "Grüße"),
        ("Gru\u0308ße", "Grüße"),
        ("会議 हिन्दी", "会議-हिन्दी"),
        ("😀", ""),
        ("ab\u202edc", "ab-dc"),
        (100 * "會", (MAX_TITLE_BYTES // 3) * "會"),
    ],
)
def test_a_name_is_safe_on_every_file_system(title: str, safe: str) -> None:
    start, *middle, digest = file_stem(STARTED_AT_MS, title, "one").split("_")
    assert (start, "_".join(middle)) == ("2026-02-02T02-40-00Z", safe)
    assert len(digest) == 8


def test_names_differ_where_time_and_title_do_not_and_are_the_same_the_next_time() -> None:
    assert len({file_stem(STARTED_AT_MS, "Moss", identity) for identity in ("one", "two", "ONE", "one")}) == 3
