"""The settings of one process among several."""

from dataclasses import replace
from typing import Any

from livecaption.config import Config
from livecaption.server.config import Place
from livecaption.server.shares import share
from tests.support.cases import for_each


def shares(n: int, n_cores: int = 8, n_gpus: int = 0, **sections: dict[str, Any]) -> list[Config]:
    config = Config()
    config = replace(config, **{name: replace(getattr(config, name), **each) for name, each in sections.items()})
    return [share(config, Place(number, n, "/run"), n_cores, n_gpus) for number in range(1, n + 1)]


def test_streams_and_readers_are_divided_without_a_rest() -> None:
    found = shares(3, server={"max_streams": 10, "max_readers": 5000})
    assert [each.server.max_streams for each in found] == [4, 3, 3]
    assert sum(each.server.max_readers for each in found) == 5000


def test_a_limit_that_is_measured_is_measured_by_each_process() -> None:
    assert [each.server.max_streams for each in shares(2)] == [None, None]


@for_each("case", [(0, 4, 1, 2), (4, 2, 2, 2), (4, 3, 1, 2), (1, 4, 1, 2)])
def test_each_process_has_an_inference_process_and_its_part_of_the_cores(case: tuple[int, int, int, int]) -> None:
    workers, n, per_device, threads = case
    for each in shares(n, workers={"per_device": workers}):
        assert (each.workers.per_device, each.engine.threads) == (per_device, threads)


def test_threads_that_are_chosen_stay() -> None:
    assert [each.engine.threads for each in shares(4, engine={"threads": 3})] == [3] * 4


@for_each(
    "case",
    [
        ("cuda:all", 4, 2, ["cuda:0,cuda:2", "cuda:1,cuda:3"]),
        ("auto", 2, 4, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        ("auto", 1, 2, ["auto", "auto"]),
        ("cuda:0", 1, 2, ["cuda:0", "cuda:0"]),
        ("cpu", 0, 2, ["cpu", "cpu"]),
    ],
)
def test_devices_are_dealt_out(case: tuple[str, int, int, list[str]]) -> None:
    device, n_gpus, n, expected = case
    assert [each.engine.device for each in shares(n, n_gpus=n_gpus, engine={"device": device})] == expected


def test_each_process_has_its_number_in_the_log() -> None:
    assert [each.log.process for each in shares(2)] == [1, 2]
