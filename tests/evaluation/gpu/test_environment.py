"""The environment of a GPU is read from nvidia-smi, here a script."""

import os
from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation.gpu.environment import environment, parse_gpus, used_bytes
from livecaption.evaluation.gpu.step import StepSettings

SMI = """#!/bin/sh
case "$1" in
--query-gpu=memory.used) printf '512\\n4\\n' ;;
*) printf 'NVIDIA H200, 580.159.03, 143771, 9.0, Disabled\\nNVIDIA L4, 580.159.03, 23034, 8.9, [N/A]\\n' ;;
esac
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


@pytest.mark.usefixtures("nvidia_smi")
def test_the_used_memory_is_that_of_all_gpus() -> None:
    assert used_bytes("cuda:0", []) == 516 * 2**20


def test_on_a_cpu_the_used_memory_is_that_of_the_processes_that_run() -> None:
    assert used_bytes("cpu", [os.getpid()]) > 10 * 2**20
    assert used_bytes("cpu", [2**22 + 1]) == 0


def test_an_answer_without_a_gpu_has_none() -> None:
    assert parse_gpus("No devices were found\n") == []
