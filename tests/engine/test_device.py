"""Which device a model is loaded on."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import ctranslate2
import pytest

from livecaption.engine.device import Device, choose_device, device_memory
from livecaption.errors import EngineUnusable
from livecaption.recognition import DeviceMemory
from tests.support.cases import for_each


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer as CTranslate2 does on a machine with two GPUs and without torch."""
    types = {"cpu": {"int8", "float32"}, "cuda": {"int8", "float16", "float32"}}
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda kind, index: types[kind])
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)


def test_the_cpu_computes_with_int8() -> None:
    assert choose_device("cpu") == Device("cpu", 0, "cpu", "int8")


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert choose_device("auto").kind == "cpu"


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_first_gpu_where_there_is_one() -> None:
    assert choose_device("auto") == Device("cuda", 0, "cuda:0", "float16")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_chosen_by_its_number() -> None:
    assert choose_device("cuda:1", "int8") == Device("cuda", 1, "cuda:1", "int8")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_has_its_name_and_memory_from_torch_where_torch_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_available=lambda: True, mem_get_info=lambda index: (5, 9), get_device_name=lambda index: f"GPU {index}"
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert choose_device("cuda:1") == Device("cuda", 1, "GPU 1 (cuda:1)", "float16", free_bytes=5, total_bytes=9)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_asked_for_where_there_is_none_is_unusable(device: str) -> None:
    with pytest.raises(EngineUnusable, match=f"No CUDA device for --device {device} .found: none"):
        choose_device(device)


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


@pytest.mark.processes
def test_torch_is_not_imported_for_the_cpu(tmp_path: Path) -> None:
    """Importing it takes seconds."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    code = "from livecaption.engine.whisper import choose_device; print(choose_device('cpu').name)"
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.stdout, child.stderr) == ("cpu\n", "")


@pytest.mark.usefixtures("two_gpus")
def test_the_memory_in_use_is_read_again_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes = iter([9, 5, 2])
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_available=lambda: True, mem_get_info=lambda _: (next(free_bytes), 9), get_device_name=lambda _: "GPU"
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    device = choose_device("cuda:1")
    assert [device_memory(device), device_memory(device)] == [DeviceMemory(4, 9), DeviceMemory(7, 9)]


def test_no_memory_is_reported_of_a_cpu() -> None:
    assert device_memory(choose_device("cpu")) is None
