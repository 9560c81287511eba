"""The inference processes that the settings ask for."""

from livecaption.ipc.config import EngineConfig
from livecaption.workers.config import WorkerConfig, engine_of_each_worker
from tests.support.cases import for_each


@for_each(
    ("device", "per_device", "expected"),
    [
        ("auto", 1, ["auto"]),
        ("cuda:0,cuda:1", 1, ["cuda:0", "cuda:1"]),
        ("cuda:0, cpu", 2, ["cuda:0", "cuda:0", "cpu", "cpu"]),
    ],
)
def test_each_device_has_its_processes(device: str, per_device: int, expected: list[str]) -> None:
    engines = engine_of_each_worker(EngineConfig(model="small", device=device), WorkerConfig(per_device=per_device), 8)
    assert [engine.device for engine in engines] == expected
    assert {engine.model for engine in engines} == {"small"}


@for_each(("threads", "per_device", "expected"), [(0, 1, 8), (0, 2, 4), (0, 3, 2), (0, 99, 1), (6, 2, 6)])
def test_processes_on_one_cpu_share_its_cores_by_default(threads: int, per_device: int, expected: int) -> None:
    engines = engine_of_each_worker(EngineConfig(threads=threads), WorkerConfig(per_device=per_device), n_cores=8)
    assert {engine.threads for engine in engines} == {expected}


@for_each(
    ("engine", "n_cores", "expected"),
    [
        (EngineConfig(device="cpu"), 8, [4, 4]),
        (EngineConfig(device="cpu"), 1, [1]),
        (EngineConfig(device="cuda:0"), 8, [8]),
        (EngineConfig("scripted"), 8, [8]),
    ],
)
def test_left_alone_two_processes_share_the_cores_of_a_cpu(
    engine: EngineConfig, n_cores: int, expected: list[int]
) -> None:
    assert [worker.threads for worker in engine_of_each_worker(engine, WorkerConfig(), n_cores)] == expected
