"""The pack for a machine without a network has the project, recordings without containers, imports without PyAV."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from livecaption.evaluation.clips import choose, read_manifest, read_pcm
from livecaption.evaluation.gpu import pack
from livecaption.evaluation.gpu.environment import ROOT

DATA = Path(__file__).parent.parent.parent / "data"


def test_the_project_is_packed_as_it_was_committed(tmp_path: Path) -> None:
    pack.add_project(tmp_path)
    assert (tmp_path / "livecaption/evaluation/gpu/__main__.py").is_file()
    assert (tmp_path / "static").is_dir()
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert head.stdout.startswith((tmp_path / "COMMIT").read_text().strip())


def test_recordings_are_the_same_without_a_container(tmp_path: Path) -> None:
    pack.add_recordings(tmp_path / "data", DATA)
    packed = choose(read_manifest(tmp_path / "data"), ())
    originals = choose(read_manifest(DATA), ())
    assert [clip.id for clip in packed] == [clip.id for clip in originals]
    assert packed[0].words == originals[0].words
    assert read_pcm(packed[0].path) == read_pcm(originals[0].path)
    assert {file.suffix for file in (tmp_path / "data").iterdir()} == {".s16", ".jsonl"}


def test_packages_of_the_machine_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is a function here that saves three wheels."""
    asked: list[str] = []

    def download(command: list[str], *, check: bool) -> None:
        if "pip" not in command:  # strip, which finds nothing
            return
        asked.extend(command)
        place = Path(command[command.index("-d") + 1])
        for name in ("av-18.1-cp311", "Some_Name-1.0-py3-none", "numpy-2.4-cp312"):
            with zipfile.ZipFile(place / f"{name}-any.whl", "w") as wheel:
                wheel.writestr(f"{name.partition('-')[0]}/__init__.py", "")

    monkeypatch.setattr(subprocess, "run", download)
    pack.add_packages(tmp_path, "3.12", ["some-name"])
    assert (tmp_path / "numpy/__init__.py").is_file()
    assert not (tmp_path / "Some_Name").exists()
    assert "FFmpegError" in (tmp_path / "av/__init__.py").read_text()
    assert "--python-version=3.12" in asked
    assert any(requirement.startswith("ctranslate2>=") for requirement in asked)


def test_server_and_measurement_can_be_imported_without_pyav(tmp_path: Path) -> None:
    for name, source in pack.STUBS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import livecaption.cli.serve, livecaption.engine.whisper, "
        "livecaption.evaluation.gpu.server, livecaption.cli.bench, av; print(av.__file__)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(str(tmp_path))
