"""The environment of a GPU is read from nvidia-smi, here a script."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation.gpu import environment as module
from livecaption.evaluation.gpu.environment import environment, parse_gpus, used_bytes
from livecaption.evaluation.gpu.step import StepSettings
from livecaption.ipc import gpus
from tests.support.stub_gpus import stub_cuda

SMI = """#!/bin/sh
printf 'NVIDIA H200, 580.159.03, 143771, 9.0, Disabled\\nNVIDIA L4, 580.159.03, 23034, 8.9, [N/A]\\n'
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("nvidia_smi")
def test_the_gpus_of_the_machine_are_recorded() -> None:
    findings: list[dict[str, Any]] = []
    environment(StepSettings("cuda"), findings.append)
    [found] = findings
    assert [gpu["name"] for gpu in found["gpus"]] == ["NVIDIA H200", "NVIDIA L4"]
    assert found["gpus"][0]["driver_version"] == "580.159.03"
    assert found["gpus"][0]["compute_cap"] == "9.0"
    assert found["versions"]["numpy"]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gpus, "LIBRARY", str(stub_cuda()))
    monkeypatch.setenv("STUB_GPUS", "2")
    module._driver.cache_clear()
    yield
    module._driver.cache_clear()


@pytest.mark.usefixtures("stub")
def test_the_used_memory_is_that_of_the_gpu_itself() -> None:
    """The stub has one GiB in use on its first GPU, and two on its second."""
    assert [used_bytes(device, []) >> 30 for device in ("cuda", "cuda:0", "cuda:1")] == [1, 1, 2]


@pytest.mark.usefixtures("stub", "nvidia_smi")
def test_the_version_of_cuda_is_that_of_the_driver() -> None:
    findings: list[dict[str, Any]] = []
    environment(StepSettings("cuda"), findings.append)
    assert findings[0]["driver_cuda"] == "13.0"


def test_on_a_cpu_the_used_memory_is_that_of_the_processes_that_run() -> None:
    assert used_bytes("cpu", [os.getpid()]) > 10 * 2**20
    assert used_bytes("cpu", [2**22 + 1]) == 0


def test_an_answer_without_a_gpu_has_none() -> None:
    assert parse_gpus("No devices were found\n") == []
