"""The figures that a driver of NVIDIA has of its GPUs. A stub of its library answers."""

import ctypes
import os

import pytest

from livecaption.ipc import gpus
from livecaption.ipc.gpus import Driver, Gpu
from livecaption.recognition import DeviceMemory
from tests.support.stub_gpus import stub_cuda

GIB = 2**30


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "LIBRARY", str(stub_cuda()))
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    monkeypatch.delenv("CUDA_DEVICE_ORDER")


def test_a_gpu_has_a_name_a_uuid_and_a_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_GPUS", "2")
    monkeypatch.setenv("STUB_DRIVER", "12040")
    monkeypatch.setenv("STUB_CAPABILITY", "86")
    driver = Driver()
    assert driver.version == 12040
    assert driver.gpus == (
        Gpu(0, "Stub GPU 0", "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f", (8, 6)),
        Gpu(1, "Stub GPU 1", "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f", (8, 6)),
    )


def test_gpus_are_counted_in_the_order_of_the_bus_unless_the_operator_wants_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Driver()
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    Driver()
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


def test_the_memory_in_use_is_that_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_GPUS", "2")
    driver = Driver()
    assert [driver.memory(gpu) for gpu in (*driver.gpus, driver.gpus[0])] == [
        DeviceMemory(1 * GIB, 80 * GIB),
        DeviceMemory(2 * GIB, 80 * GIB),
        DeviceMemory(1 * GIB, 80 * GIB),
    ]


def test_freed_memory_is_kept_without_limit() -> None:
    driver = Driver()
    driver.keep_memory(driver.gpus[0])
    kept = ctypes.CDLL(gpus.LIBRARY).stub_kept
    kept.restype = ctypes.c_uint64
    assert kept() == 2**64 - 1


def test_a_driver_without_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_INIT", "100")
    assert Driver().gpus == ()


@pytest.mark.parametrize(
    ("variable", "error", "text"),
    [
        ("STUB_INIT", "803", r"cuInit: system not yet initialized \(803\)"),
        ("STUB_MEMORY", "700", r"cuMemGetInfo_v2: unknown error \(700\)"),
        ("STUB_POOL", "801", r"cuDeviceGetDefaultMemPool: unknown error \(801\)"),
    ],
)
def test_an_error_of_the_driver_names_the_function_and_the_reason(
    variable: str, error: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use() -> None:
        driver = Driver()
        driver.keep_memory(driver.gpus[0])
        driver.memory(driver.gpus[0])

    use()
    monkeypatch.setenv(variable, error)
    with pytest.raises(OSError, match=text):
        use()


def test_a_library_without_a_function_is_an_error_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "LIBRARY", "libc.so.6")
    with pytest.raises(OSError, match="has no cuDriverGetVersion"):
        Driver()
