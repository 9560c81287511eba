"""A pack is unpacked and run, with cuBLAS of CUDA 12 or 13 under the name that CTranslate2 asks for."""

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from livecaption.evaluation.gpu import unpack
from livecaption.evaluation.gpu.unpack import cublas_files, link_cublas

PROGRAM = """
import os, sys
print(sys.argv[1:], os.environ["PYTHONPATH"].split(":")[1].endswith("/site"), os.path.isfile("secret"))
sys.exit(3)
"""


def library(directory: Path, name: str) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(name)
    return str(directory / name)


def test_libraries_of_python_packages_and_of_the_library_path_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_a_package = library(tmp_path / "site/nvidia/cublas/lib", "libcublas.so.12")
    of_the_path = library(tmp_path / "cuda", "libcublas.so.13")
    library(tmp_path / "cuda", "libcublas.so.11")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(unpack, "SYSTEM_PLACES", ())
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "cuda"))
    assert cublas_files() == [of_a_package, of_the_path]


def test_the_library_of_cuda_12_is_used_where_it_is(tmp_path: Path) -> None:
    files = [library(tmp_path / "13", "libcublas.so.13"), library(tmp_path / "12", "libcublas.so.12")]
    assert link_cublas(tmp_path / "links", files) == str(tmp_path / "12")
    assert not (tmp_path / "links").exists()


def test_the_library_of_cuda_13_gets_the_name_of_cuda_12(tmp_path: Path) -> None:
    files = [library(tmp_path / "13", "libcublas.so.13")]
    library(tmp_path / "13", "libcublasLt.so.13")
    links = Path(link_cublas(tmp_path / "links", files))
    assert (links / "libcublas.so.12").read_text() == "libcublas.so.13"
    assert (links / "libcublasLt.so.13").read_text() == "libcublasLt.so.13"


def test_without_a_library_there_is_nothing_to_link(tmp_path: Path) -> None:
    assert link_cublas(tmp_path, []) == ""


def test_the_measurement_of_the_pack_is_run_with_its_model(tmp_path: Path) -> None:
    """It runs as a file of its own, without livecaption installed."""
    shutil.copy(unpack.__file__, tmp_path / "run.py")
    with tarfile.open(tmp_path / "pack.tar.xz", "w:xz") as pack:
        content = {"livecaption/evaluation/gpu/__main__.py": PROGRAM, "models/tiny.en/model.bin": ""}
        for name, text in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            pack.addfile(info, io.BytesIO(text.encode()))
    ended = subprocess.run(
        [sys.executable, "-P", tmp_path / "run.py", "--device", "cpu"], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.startswith("['--model', '/")
    assert ended.stdout.endswith("/models/tiny.en', '--device', 'cpu'] True False\n")
