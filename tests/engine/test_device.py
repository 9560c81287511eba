"""Which device a model is loaded on."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import ctranslate2
import pytest

from livecaption.engine import cuda
from livecaption.engine.device import choose_device, device_memory
from livecaption.engine.loading import settle_device
from livecaption.errors import EngineUnusable
from livecaption.ipc import gpus
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import DeviceMemory
from tests.support.cases import for_each
from tests.support.stub_gpus import stub_cublas_packages, stub_cuda

GIB = 2**30


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, set[str]]:
    """Answer as CTranslate2 and NVIDIA's libraries do on a machine with two GPUs; the compute types may be changed."""
    types = {"cpu": {"int8", "float32"}, "cuda": {"int8", "int8_float32", "float16", "float32"}}
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda kind, index: types[kind])
    monkeypatch.setattr(gpus, "LIBRARY", str(stub_cuda()))
    monkeypatch.setenv("STUB_GPUS", "2")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.syspath_prepend(stub_cublas_packages(tmp_path))
    return types


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "LIBRARY", "libno-such-driver.so.1")
    monkeypatch.setattr(cuda, "device_files", list)


def test_the_cpu_computes_with_int8() -> None:
    device = choose_device("cpu")
    assert (device.kind, device.name, device.compute_type, device.gpu) == ("cpu", "cpu", "int8", None)


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_where_there_is_no_gpu(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_device("auto").kind == "cpu"
    assert caplog.text == ""


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_cpu_where_the_driver_is_broken_and_the_log_has_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STUB_INIT", "803")
    assert choose_device("auto").kind == "cpu"
    assert caplog.record_tuples == [
        (
            "livecaption.engine.device",
            logging.WARNING,
            "the CPU is used: NVIDIA's driver does not work: cuInit: system not yet initialized (803)",
        )
    ]


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_cpu_where_ctranslate2_has_no_cuda(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    assert choose_device("auto").kind == "cpu"
    assert "CTranslate2 finds no GPU" in caplog.text


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_first_gpu_where_there_is_one() -> None:
    device = choose_device("auto")
    assert (device.kind, device.index, device.name) == ("cuda", 0, "Stub GPU 0 (cuda:0)")


@pytest.mark.usefixtures("two_gpus")
def test_a_worker_names_its_gpu_by_the_uuid_and_keeps_to_it() -> None:
    settled, name = settle_device(EngineConfig(device="auto"))
    assert (settled.device, name) == ("cuda:0", "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f")
    assert settled.threads == 1  # those of the CPU would wait for the GPU
    assert settle_device(EngineConfig(device="cuda:1"))[1].startswith("GPU-1011")


@pytest.mark.usefixtures("two_gpus")
def test_the_directory_of_compiled_kernels_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_CACHE_PATH", str(tmp_path / "cache" / "nv"))
    choose_device("cuda")
    assert (tmp_path / "cache" / "nv").is_dir()


@pytest.mark.usefixtures("no_gpu")
def test_a_worker_without_a_gpu_keeps_to_the_cpu() -> None:
    assert settle_device(EngineConfig(device="auto")) == (EngineConfig(device="cpu"), "cpu")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_chosen_by_its_number() -> None:
    device = choose_device("cuda:1", "int8")
    assert (device.index, device.name, device.compute_type) == (1, "Stub GPU 1 (cuda:1)", "int8")
    assert device.gpu.uuid.startswith("GPU-1011")


@for_each(
    ("missing", "chosen"),
    [(set(), "float16"), ({"float16"}, "int8_float32"), ({"float16", "int8_float32"}, "float32")],
)
def test_a_gpu_computes_with_the_fastest_type_that_it_has(
    missing: set[str], chosen: str, two_gpus: dict[str, set[str]]
) -> None:
    two_gpus["cuda"] -= missing
    assert choose_device("cuda").compute_type == chosen


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_asked_for_where_there_is_none_is_unusable(device: str) -> None:
    with pytest.raises(EngineUnusable, match=f"No CUDA device for --device {device} .found: none.: install NVIDIA"):
        choose_device(device)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_with_a_broken_driver_is_unusable_for_the_reason_that_the_driver_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STUB_INIT", "803")
    with pytest.raises(EngineUnusable, match=r"found: none.*not yet initialized"):
        choose_device("cuda")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_whose_driver_is_too_old_for_it_is_unusable_also_for_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_DRIVER", "12040")
    for device in ("cuda", "auto"):
        with pytest.raises(EngineUnusable, match="570"):
            choose_device(device)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_without_cublas_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "CUBLAS", "libno-such-cublas.so.12")
    with pytest.raises(EngineUnusable, match=r"livecaption-server\[gpu\]"):
        choose_device("cuda")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_without_a_pool_of_memory_is_used_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_POOL", "801")
    assert choose_device("cuda").kind == "cuda"


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_beyond_the_last_is_unusable_and_the_message_names_those_there_are() -> None:
    with pytest.raises(EngineUnusable, match="found: cuda:0 to cuda:1"):
        choose_device("cuda:2")


@for_each("device", ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "CPU"])
def test_a_device_of_another_name_is_unusable(device: str) -> None:
    with pytest.raises(EngineUnusable, match="use auto, cpu, cuda or cuda:N"):
        choose_device(device)


def test_a_compute_type_that_the_device_does_not_support_is_unusable_and_the_message_names_the_others() -> None:
    with pytest.raises(EngineUnusable, match=r"'float17' does not work on this cpu device: use one of .*float32"):
        choose_device("cpu", "float17")


@pytest.mark.usefixtures("two_gpus")
def test_the_memory_in_use_is_read_again_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    device = choose_device("cuda:1")
    assert device_memory(device) == DeviceMemory(2 * GIB, 80 * GIB)
    monkeypatch.setenv("STUB_MEMORY", "999")
    assert device_memory(device) is None
    monkeypatch.delenv("STUB_MEMORY")
    assert device_memory(device) == DeviceMemory(2 * GIB, 80 * GIB)


def test_no_memory_is_reported_of_a_cpu() -> None:
    assert device_memory(choose_device("cpu")) is None


CHOOSE = """
import sys, ctranslate2
from livecaption.engine.device import choose_device, device_memory
ctranslate2.get_cuda_device_count = lambda: 1
ctranslate2.get_supported_compute_types = lambda kind, index: {"float16", "int8"}
for name in ("cpu", "cuda"):
    device = choose_device(name)
    print(device.name, device.gpu and device.gpu.uuid, device_memory(device), "torch" in sys.modules)
"""


def test_neither_a_cpu_nor_a_gpu_needs_torch(tmp_path: Path) -> None:
    """Importing it takes seconds. The driver's library is found as the loader finds it."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    child = subprocess.run(
        [sys.executable, "-c", CHOOSE],
        env={
            "PYTHONPATH": os.pathsep.join([str(stub_cublas_packages(tmp_path)), str(Path.cwd())]),
            "LD_LIBRARY_PATH": str(stub_cuda().parent),
        },
        capture_output=True,
        text=True,
    )
    assert child.stderr == ""
    memory = DeviceMemory(1 * GIB, 80 * GIB)
    assert child.stdout.splitlines() == [
        "cpu None None False",
        f"Stub GPU 0 (cuda:0) GPU-00010203-0405-0607-0809-0a0b0c0d0e0f {memory} False",
    ]
