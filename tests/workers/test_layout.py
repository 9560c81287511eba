"""The inference processes that the settings ask for."""

from pathlib import Path

import pytest

from livecaption.errors import ConfigError
from livecaption.ipc.config import EngineConfig
from livecaption.workers.config import WorkerConfig
from livecaption.workers.layout import count_gpus, lay_out
from tests.support.cases import for_each


@for_each(
    ("device", "per_device", "expected"),
    [
        ("auto", 1, ["auto"]),
        ("cuda:0,cuda:1", 1, ["cuda:0", "cuda:1"]),
        ("cuda:0, cpu", 2, ["cuda:0", "cuda:0", "cpu", "cpu"]),
        ("cuda:all", 0, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:all, cpu", 1, ["cuda:0", "cuda:1", "cuda:2", "cpu"]),
        ("ray", 0, ["ray"]),
        ("ray:0.25, ray", 2, ["ray:0.25", "ray:0.25", "ray", "ray"]),
    ],
)
def test_each_device_has_its_processes(device: str, per_device: int, expected: list[str]) -> None:
    engine = EngineConfig(model="small", device=device)
    layout = lay_out(engine, WorkerConfig(per_device=per_device), n_cores=8, n_gpus=3)
    assert [each.device for each in layout.engines] == expected
    assert {each.model for each in layout.engines} == {"small"}
    assert layout.more_on_cpu == []


@for_each("device", ["cuda:all", "cpu,cuda:all"])
def test_all_gpus_of_a_machine_without_one_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="--device cuda:all: there is no NVIDIA GPU here"):
        lay_out(EngineConfig(device=device), WorkerConfig(), n_cores=8, n_gpus=0)


@for_each("device", ["ray:", "ray:0", "ray:-1", "ray:2", "ray:nan", "ray:one"])
def test_a_share_of_a_gpu_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {device}: the share of a GPU is over 0 and at most 1"):
        lay_out(EngineConfig(device=device), WorkerConfig(), n_cores=8, n_gpus=0)


@for_each(("threads", "per_device", "expected"), [(0, 1, 8), (0, 2, 4), (0, 3, 2), (0, 99, 1), (6, 2, 6)])
def test_processes_on_one_cpu_share_its_cores_by_default(threads: int, per_device: int, expected: int) -> None:
    layout = lay_out(EngineConfig(threads=threads), WorkerConfig(per_device=per_device), n_cores=8, n_gpus=0)
    assert {engine.threads for engine in layout.engines} == {expected}


@for_each(
    ("engine", "n_cores", "expected"),
    [
        (EngineConfig(device="cpu"), 8, [4, 4]),
        (EngineConfig(device="cpu"), 1, [1]),
        (EngineConfig(device="cuda:0"), 8, [1]),
        (EngineConfig(device="cuda", threads=6), 8, [1]),
        (EngineConfig("scripted", device="ray"), 8, [1]),
        (EngineConfig("scripted"), 8, [8]),
    ],
)
def test_left_alone_two_processes_share_the_cores_of_a_cpu_and_one_on_a_gpu_has_one_thread(
    engine: EngineConfig, n_cores: int, expected: list[int]
) -> None:
    layout = lay_out(engine, WorkerConfig(), n_cores, n_gpus=1)
    assert [worker.threads for worker in layout.engines] == expected


@for_each(
    ("n_gpus", "per_device", "n_cores", "n_at_once", "n_more"),
    [(0, 0, 8, 2, 0), (1, 0, 8, 1, 1), (2, 0, 8, 1, 1), (1, 0, 1, 1, 0), (1, 1, 8, 1, 0), (1, 3, 8, 3, 0)],
)
def test_auto_has_one_process_where_there_is_a_gpu_and_those_of_a_cpu_once_it_cannot_be_used(
    n_gpus: int, per_device: int, n_cores: int, n_at_once: int, n_more: int
) -> None:
    layout = lay_out(EngineConfig(), WorkerConfig(per_device=per_device), n_cores, n_gpus)
    assert (len(layout.engines), len(layout.more_on_cpu)) == (n_at_once, n_more)
    assert {(each.device, each.threads) for each in layout.engines + layout.more_on_cpu} == {
        ("auto", max(1, n_cores // (n_at_once + n_more)))
    }


@for_each(
    ("visible", "expected"),
    [
        (None, 2),
        ("", 0),
        ("1", 1),
        ("0, 1", 2),
        ("1,-1,0", 1),
        ("0,1,2,3", 2),
        ("2,0,1", 0),
        ("none", 0),
        ("GPU-1b2c", 1),
        ("MIG-1b2c,MIG-3d4e,MIG-5f60", 1),
    ],
)
def test_gpus_are_counted_by_their_files_and_by_what_cuda_is_allowed_to_show(
    visible: str | None, expected: int, tmp_path: Path
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert count_gpus(environment, str(tmp_path)) == expected


def test_a_layout_is_logged_as_the_number_of_processes_and_their_devices() -> None:
    layout = lay_out(EngineConfig(device="cuda:all"), WorkerConfig(per_device=2), n_cores=8, n_gpus=3)
    assert str(layout) == "inference processes: 6 (cuda:0, cuda:1, cuda:2), GPUs: 3"


def test_the_variable_does_not_count_where_there_is_no_gpu(tmp_path: Path) -> None:
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "0"}, str(tmp_path)) == 0
