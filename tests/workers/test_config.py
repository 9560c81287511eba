"""Which inference processes there are to be."""

import os

import pytest

from livecaption.workers.config import EngineConfig, WorkerConfig, engine_of_each_worker


@pytest.mark.parametrize(
    ("device", "per_device", "expected"),
    [
        ("auto", 1, ["auto"]),
        ("cuda:0,cuda:1", 1, ["cuda:0", "cuda:1"]),
        ("cuda:0, cpu", 2, ["cuda:0", "cuda:0", "cpu", "cpu"]),
    ],
)
def test_each_device_has_its_processes(device: str, per_device: int, expected: list[str]) -> None:
    engines = engine_of_each_worker(EngineConfig(model="small", device=device), WorkerConfig(per_device=per_device))
    assert [engine.device for engine in engines] == expected
    assert {engine.model for engine in engines} == {"small"}


@pytest.mark.parametrize(
    ("threads", "per_device", "expected"), [(0, 1, 0), (0, 2, 4), (0, 3, 2), (0, 99, 1), (6, 2, 6)]
)
def test_processes_on_one_cpu_share_its_cores_unless_told_otherwise(
    threads: int, per_device: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    engines = engine_of_each_worker(EngineConfig(threads=threads), WorkerConfig(per_device=per_device))
    assert {engine.threads for engine in engines} == {expected}
