"""The needs of CTranslate2 on a machine with a GPU. Stubs of the libraries of NVIDIA answer."""

import ctypes
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from livecaption.engine import cuda
from livecaption.engine.cuda import check_support, find_driver, load_libraries
from livecaption.errors import EngineUnusable
from livecaption.ipc import gpus
from livecaption.ipc.gpus import Driver
from tests.support.cases import for_each
from tests.support.stub_gpus import stub_cublas_packages, stub_cuda

CREATE = """
import ctypes, pathlib, ctranslate2
{first}
library = next((pathlib.Path(ctranslate2.__file__).parents[1] / "ctranslate2.libs").glob("libctranslate2*"))
print(ctypes.CDLL(str(library)).cublasCreate_v2(ctypes.byref(ctypes.c_void_p())))
"""
"""Call the function by which CTranslate2 opens cuBLAS, as its first pass on a GPU does."""


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "LIBRARY", str(stub_cuda()))
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


@pytest.mark.usefixtures("stub")
@for_each(
    ("capability", "version", "refusal"),
    [
        (50, 12080, "is too old: CTranslate2 needs compute capability 5.3, and it has 5.0. .*--device cpu"),
        (53, 12000, None),
        (86, 12040, None),
        (89, 12000, None),
        (90, 12040, r"needs NVIDIA's driver 570 or later \(CUDA 12.8\); the driver here supports CUDA 12.4"),
        (90, 12080, None),
        (120, 12070, "needs NVIDIA's driver 570"),
        (120, 13000, None),
    ],
)
def test_a_gpu_is_refused_if_ctranslate2_has_no_code_for_it_and_its_driver_compiles_none(
    capability: int, version: int, refusal: str | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUB_CAPABILITY", str(capability))
        patch.setenv("STUB_DRIVER", str(version))
        driver = Driver()
    if refusal is None:
        check_support(driver.gpus[0], driver)
    else:
        with pytest.raises(EngineUnusable, match=rf"Stub GPU 0 \(cuda:0\) {refusal}"):
            check_support(driver.gpus[0], driver)


@pytest.mark.usefixtures("stub")
def test_a_driver_that_works_is_found() -> None:
    driver, problem = find_driver()
    assert driver is not None
    assert [gpu.name for gpu in driver.gpus] == ["Stub GPU 0"]
    assert problem == ""


@pytest.mark.usefixtures("stub")
@for_each(
    ("variables", "device_files", "problem"),
    [
        ({"STUB_INIT": "803"}, [], "NVIDIA's driver does not work: cuInit: system not yet initialized (803)"),
        ({"STUB_DRIVER": "11040"}, [], "NVIDIA's driver is too old: driver 525 or later is needed"),
        ({"STUB_INIT": "100"}, ["/dev/nvidia0"], "NVIDIA's driver finds no GPU, in spite of /dev/nvidia0"),
        ({"STUB_INIT": "100"}, [], ""),
        ({"STUB_INIT": "100", "CUDA_VISIBLE_DEVICES": ""}, ["/dev/nvidia0"], ""),
    ],
)
def test_a_driver_that_cannot_be_used_has_a_reason_unless_there_is_no_gpu(
    variables: dict[str, str], device_files: list[str], problem: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setattr(cuda, "device_files", lambda: device_files)
        for name, value in variables.items():
            patch.setenv(name, value)
        assert find_driver() == (None, problem)


@pytest.mark.parametrize("device_files", [[], ["/dev/nvidia0"]])
def test_a_missing_driver_is_wrong_only_where_there_is_a_gpu(
    device_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "LIBRARY", "libno-such-driver.so.1")
    monkeypatch.setattr(cuda, "device_files", lambda: device_files)
    driver, problem = find_driver()
    assert driver is None
    assert ("cannot open shared object file" in problem) == bool(device_files)


@for_each(
    "wording",
    ["Could not find module 'nvcuda.dll' (or one of its dependencies).", "dlopen(libcuda.so.1, 0x0006): tried"],
)
def test_a_missing_driver_is_nothing_wrong_on_other_systems_either(wording: str) -> None:
    """They have no such device files, and other words for it."""

    def refuse(_: str) -> None:
        raise OSError(wording)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctypes, "CDLL", refuse)
        patch.setattr(cuda, "device_files", list)
        assert find_driver() == (None, "")


@pytest.mark.usefixtures("stub")
def test_a_driver_that_cannot_open_something_is_wrong_also_without_device_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Driver) -> None:
        raise OSError("cuInit: cannot open it (999)")

    monkeypatch.setattr(Driver, "__init__", fail)
    monkeypatch.setattr(cuda, "device_files", list)
    assert find_driver() == (None, "NVIDIA's driver does not work: cuInit: cannot open it (999)")


def test_ctranslate2_finds_the_libraries_of_the_package_once_they_are_loaded(tmp_path: Path) -> None:
    """Without them it ends the process, because it throws through C."""
    packages = stub_cublas_packages(tmp_path)
    load = "from livecaption.engine.cuda import load_libraries; load_libraries()"
    for first, expected in ((load, (0, ["42"])), ("", (-signal.SIGABRT, []))):
        child = subprocess.run(
            [sys.executable, "-c", CREATE.format(first=first)],
            env={"PYTHONPATH": f"{packages}:{Path.cwd()}"},
            capture_output=True,
            text=True,
        )
        # CTranslate2 writes the version that it has found first.
        assert (child.returncode, child.stdout.splitlines()[-1:]) == expected, child.stderr


def test_without_cublas_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "CUBLAS", "libno-such-cublas.so.12")
    with pytest.raises(EngineUnusable, match=r"cuBLAS 12 .* pip install 'livecaption-server\[gpu\]'"):
        load_libraries()


def test_a_cublas_that_the_system_finds_serves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "CUBLAS", "libc.so.6")
    load_libraries()
