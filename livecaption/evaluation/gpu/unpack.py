"""Unpack what `pack` has packed, and run the measurement there. Standard library only.

    python3 run.py [--device cuda] [--out DIR]

This file is `run.py` beside `pack.tar.xz`. CTranslate2 loads cuBLAS of CUDA 12, which is too large for the pack. On a
machine that has cuBLAS 13 only, links give that its name: the functions that CTranslate2 takes are the same in both.
"""

import glob
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

COMMIT_FILE = "COMMIT"
MODELS = "models"
SYSTEM_PLACES = ("/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/x86_64-linux/lib", "/usr/lib/x86_64-linux-gnu")


def cublas_files() -> list[str]:
    """Return the libraries cuBLAS 12 and 13 that are found: Python packages, the library path, the system's places."""
    places = [
        *(f"{place}/nvidia/*/lib" for place in sys.path if place),
        *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)),
        *SYSTEM_PLACES,
    ]
    found = [file for place in places for file in sorted(glob.glob(f"{place}/libcublas.so.1[23]"))]
    return list(dict.fromkeys(found))


def link_cublas(directory: Path, files: Sequence[str]) -> str:
    """Return the directory to add to LD_LIBRARY_PATH, so that `libcublas.so.12` is found; empty: there is none.

    Args:
        directory: place for links, if only cuBLAS 13 is there.
        files: result of `cublas_files`.
    """
    places = {Path(file).name: Path(file).parent for file in reversed(files)}
    if place := places.get("libcublas.so.12"):
        return str(place)
    place = places.get("libcublas.so.13")
    if place is None:
        return ""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "libcublas.so.12").symlink_to(place / "libcublas.so.13")
    (directory / "libcublasLt.so.13").symlink_to(place / "libcublasLt.so.13")
    return str(directory)


def main(arguments: Sequence[str]) -> int:
    """Run the measurement in a temporary directory, and return its exit code."""
    with tempfile.TemporaryDirectory(prefix="livecaption-pack-") as directory:
        root = Path(directory)
        with tarfile.open(Path(__file__).with_name("pack.tar.xz")) as pack:
            pack.extractall(root, filter="data")
        paths = [link_cublas(root / "cublas", cublas_files()), os.environ.get("LD_LIBRARY_PATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(root), str(root / "site")]),
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths)),
        }
        [model] = (root / MODELS).iterdir()
        command = [sys.executable, "-m", "livecaption.evaluation.gpu", "--model", str(model), *arguments]
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
