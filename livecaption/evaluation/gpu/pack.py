"""Make the pack for a measurement on a machine without a network: the project, its requirements, a model, recordings.

    python -m livecaption.evaluation.gpu.pack DIR [--python 3.12] [--has numpy onnxruntime ...]
    python3 DIR/run.py --out RESULTS        # on the machine, x86-64 Linux

It runs in a checkout and needs git, pip and a package index. The commit is packed, not what was changed since.

The pack is small because something is left out. cuBLAS (580 MB): the machine brings it, of CUDA 12 or 13. PyAV (40 MB):
recordings are decoded here, and the server there accepts no containers. Debug symbols of CTranslate2 (67 MB). Half of
the model: its weights are int8, from which the machine computes in any type. Packages that the machine `--has`.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from livecaption.engine.models import find_model
from livecaption.evaluation.clips import choose, read_manifest, read_pcm
from livecaption.evaluation.gpu import unpack
from livecaption.evaluation.gpu.environment import ROOT
from livecaption.evaluation.gpu.model import as_int8, read_model, write_model

PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)), "manylinux2014_x86_64")
"""pip does not take a wheel for an older system by itself."""
EXTRAS = ("jiwer>=4", "whisper-normalizer")
"""The extra `bench` without plots."""
STUBS = {
    "av/__init__.py": "class FFmpegError(Exception): ...",
    "av/audio/__init__.py": "",
    "av/audio/plane.py": "class AudioPlane: ...",
    "av/stream.py": "class Disposition: ...",
    "av/subtitles/__init__.py": "",
    "av/subtitles/codeccontext.py": "",
    "av/subtitles/stream.py": "",
}
"""The parts of PyAV that are imported where no container is decoded."""


def add_project(target: Path) -> None:
    """Add the package and the pages of the present commit."""
    packed = subprocess.run(
        ["git", "-C", ROOT, "archive", "HEAD", "livecaption", "static"], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as project:
        project.extractall(target, filter="data")
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    (target / unpack.COMMIT_FILE).write_text(commit.stdout, encoding="utf-8")


def add_packages(target: Path, python: str, present: Collection[str]) -> None:
    """Add the requirements, without those that are present on the machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    flags = ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp"]
    flags += [f"--platform={platform}" for platform in PLATFORMS]
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", *flags, "-d", wheels, *project["dependencies"], *EXTRAS],
            check=True,
        )
        for wheel in sorted(Path(wheels).glob("*.whl")):
            if package_of(wheel.name) not in {"av", *present}:
                with zipfile.ZipFile(wheel) as content:
                    content.extractall(target)
    for name, source in STUBS.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(source + "\n", encoding="utf-8")
    if shutil.which("strip"):
        libraries = [*target.glob("ctranslate2/*.so"), *target.glob("ctranslate2.libs/libctranslate2*")]
        subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)


def package_of(wheel: str) -> str:
    """Return the normalized name of the package in a wheel."""
    return wheel.partition("-")[0].lower().replace("_", "-")


def add_model(directory: Path, name: str) -> None:
    """Add the model with int8 weights. Its directory has its name."""
    files = find_model(name)
    source, target = files.directory, directory / files.name
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("model.bin", "__pycache__", "*.py"))
    with (source / "model.bin").open("rb") as original, (target / "model.bin").open("wb") as smaller:
        write_model(as_int8(read_model(original)), smaller)


def add_recordings(target: Path, data: Path) -> None:
    """Add the English recordings as samples, with their entries of the manifest."""
    target.mkdir(parents=True)
    chosen = {clip.id: clip for clip in choose(read_manifest(data), ())}
    lines = []
    for entry in map(json.loads, (data / "manifest.jsonl").read_text(encoding="utf-8").splitlines()):
        if clip := chosen.get(entry["id"]):
            (target / f"{clip.id}.s16").write_bytes(read_pcm(clip.path))
            lines.append(json.dumps(entry | {"file": f"{clip.id}.s16"}) + "\n")
    (target / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.gpu.pack", description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="gets pack.tar.xz and run.py")
    parser.add_argument("--python", default="3.12", help="version of Python there (default: 3.12)")
    parser.add_argument("--has", nargs="*", default=[], metavar="PACKAGE", help="packages that the machine has")
    parser.add_argument("--model", default="", help="as for serve (default: tiny.en)")
    parser.add_argument("--data", type=Path, default=ROOT / "tests/data", help="recordings (default: tests/data)")
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        add_project(root)
        add_packages(root / "site", options.python, options.has)
        add_model(root / unpack.MODELS, options.model)
        add_recordings(root / "tests/data", options.data)
        pack = options.directory / "pack.tar.xz"
        with tarfile.open(pack, "w:xz") as tar:
            tar.add(root, ".")
    shutil.copy(unpack.__file__, options.directory / "run.py")
    print(f"{pack}: {pack.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
