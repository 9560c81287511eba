"""`livecaption token`: it makes keys that `serve --tokens` reads, and lists them without a secret."""

import os
import stat
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest

from livecaption import keys
from livecaption.cli import main
from livecaption.keys import Key, Role
from tests.support.cases import for_each
from tests.support.commands import unread_stdout
from tests.support.disks import fill_up, small_disk


@pytest.fixture(autouse=True)
def _without_a_file_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVECAPTION_TOKENS", raising=False)


def parsed(text: str) -> tuple[Key, ...]:
    return keys.parse(tomllib.loads(text), "keys.toml")


def test_without_a_file_the_token_and_the_lines_for_one_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    limits = ["--expires", "2027-01-31", "--max-streams", "2", "--max-minutes-per-day", "600"]
    assert main(["token", "create", "--name", "Hall A", "--role", "publish", *limits]) == 0
    token, _, section = capfd.readouterr().out.partition("\n")
    expected = Key("Hall A", frozenset({Role.PUBLISH}), keys.hash_of(token.encode()), date(2027, 1, 31), 2, 600)
    assert parsed(section) == (expected,)
    assert token not in section


def test_a_key_is_added_to_the_file_which_keeps_the_rest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.toml"
    found = []
    for name in ("Hall A", "Hall B"):
        create = ["token", "create", "--name", name, "--role", "read", "--role", "publish", "--tokens", str(file)]
        assert main(create) == 0
        found.append(capfd.readouterr().out.strip())
        file.write_text(file.read_text() + "# Hall", newline="")  # people write comments, and forget the line end
    text = file.read_text()
    assert [key.name for key in parsed(text)] == ["Hall A", "Hall B"]
    assert [key.sha256 for key in parsed(text)] == [keys.hash_of(token.encode()) for token in found]
    assert text.count("# Hall") == 2
    assert not any(token in text for token in found)


def test_the_list_has_what_an_operator_needs_and_no_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.toml"
    monkeypatch.setenv("LIVECAPTION_TOKENS", str(file))
    file.write_text(
        keys.as_toml(Key("Hall A", frozenset({Role.PUBLISH}), "0" * 64, date(2020, 1, 31), 2))
        + keys.as_toml(Key("Figures", frozenset({Role.READ}), "1" * 64))
    )
    assert main(["token", "list"]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "NAME     ROLE     LAST DAY              STREAMS  MINUTES A DAY",
        "Hall A   publish  2020-01-31 (expired)  2",
        "Figures  read",
    ]


def test_a_new_file_can_be_written_by_its_owner_only_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    create = ["token", "create", "--role", "read", "--tokens", str(file := tmp_path / "keys.toml")]
    umask = os.umask(0)
    try:
        assert main([*create, "--name", "Hall A"]) == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        file.chmod(0o660)
        assert main([*create, "--name", "Hall B"]) == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o660
    finally:
        os.umask(umask)


@for_each(
    ("arguments", "reason"),
    [
        (["--name", "token"], "--name must have"),
        (["--name", "a\nb"], "--name must have"),
        (["--expires", "tomorrow"], "--expires must be a day"),
        (["--max-streams", "0"], "--max-streams must be"),
        (["--name", "Hall A"], "a key with the name 'Hall A' already"),
    ],
)
def test_a_wrong_key_is_refused_and_the_file_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(before := keys.as_toml(Key("Hall A", frozenset({Role.READ}), "0" * 64)))
    assert main(["token", "create", "--name", "new", "--role", "read", "--tokens", str(file), *arguments]) == 2
    assert reason in capfd.readouterr().err
    assert file.read_text() == before


def test_a_disk_that_has_room_for_a_part_of_a_key_leaves_the_file_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    create = ["token", "create", "--role", "read", "--tokens"]
    with small_disk(tmp_path / "disk") as disk:
        file = disk / "keys.toml"
        assert main([*create, str(file), "--name", "Hall A"]) == 0
        section = file.read_text()
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        file.write_text(before := section + "#" * (page_bytes - len(section) - 10) + "\n")
        fill_up(disk)
        assert main([*create, str(file), "--name", "Hall B"]) == 1
        assert file.read_text() == before
    assert "No space left" in capfd.readouterr().err


def test_a_token_that_cannot_be_printed_leaves_no_key_and_a_list_fails_then_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.toml"
    create = ["token", "create", "--name", "Hall A", "--role", "read"]
    file.write_text(before := keys.as_toml(Key("Hall B", frozenset({Role.READ}), "0" * 64)))
    for command in ([*create, "--tokens", str(file)], create, ["token", "list", "--tokens", str(file)]):
        with unread_stdout() as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            assert main(command) == 1
    assert file.read_text() == before


def test_no_token_is_printed_for_a_file_that_cannot_be_opened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nowhere" / "keys.toml"
    assert main(["token", "create", "--name", "Hall A", "--role", "read", "--tokens", str(file)]) == 1
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert "No such file" in stderr


def test_a_list_needs_a_file_of_keys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "list"]) == 2
    assert main(["token", "list", "--tokens", str(tmp_path / "none")]) == 2
    errors = capfd.readouterr().err
    assert "LIVECAPTION_TOKENS" in errors
    assert "No such file" in errors
