"""Sorting into passes, and the rows of an encoder's output that belong to one."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
import pytest

from livecaption.engine.device import Device
from livecaption.engine.passes import Rows, grouped
from tests.support.cases import for_each
from tests.support.counting_gpu import GPU, Storage

CPU = Device("cpu", 0, "cpu", "int8")


class Torch:
    """Stands in for torch with a GPU, and counts what it copies there."""

    def __init__(self, *, has_gpu: bool = True) -> None:
        self.n_copies = 0
        self.cuda = SimpleNamespace(
            is_available=lambda: has_gpu, current_stream=lambda: SimpleNamespace(synchronize=lambda: None)
        )

    def as_tensor(self, encoded: Storage, device: str) -> Any:
        assert device == "cuda:0"
        self.n_copies += 1
        return SimpleTensor(encoded.array)


class SimpleTensor:
    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._storage = Storage(array, "cuda")
        self.__cuda_array_interface__ = self._storage.__cuda_array_interface__

    def __getitem__(self, rows: list[int]) -> "SimpleTensor":
        return SimpleTensor(np.ascontiguousarray(self._storage.array[rows]))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr(ctranslate2, "StorageView", Storage)
    return Storage(np.arange(5 * 2 * 4, dtype=np.float16).reshape(5, 2, 4), "cuda")


def test_items_of_one_key_are_together_in_their_order() -> None:
    assert list(grouped(["bb", "a", "cc", "d"], len)) == [(2, ["bb", "cc"]), (1, ["a", "d"])]


@for_each("rows", [[0], [1, 0], [2, 0], [0, 1, 2], [2, 1, 0]])
def test_rows_are_taken_in_the_order_in_which_they_are_asked_for(rows: list[int]) -> None:
    encoded = np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4)
    taken = Rows(CPU).take(ctranslate2.StorageView.from_array(encoded), rows)
    assert np.array_equal(np.asarray(taken), encoded[rows])


@for_each("rows", [[0], [4], [1, 2, 3], [0, 1, 2, 3, 4]])
def test_neighbours_stay_on_the_gpu_without_a_copy(
    rows: list[int], encoded: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    taken = Rows(GPU).take(encoded, rows)
    assert taken.device == "cuda"
    assert np.array_equal(taken.array, encoded.array[rows])
    assert np.shares_memory(taken.array, encoded.array)


@for_each("rows", [[0, 2], [1, 0], [4, 3, 2, 1, 0]])
def test_torch_copies_other_rows_on_the_gpu(rows: list[int], encoded: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch()
    monkeypatch.setitem(sys.modules, "torch", torch)
    taken = Rows(GPU).take(encoded, rows)
    assert (taken.device, torch.n_copies) == ("cuda", 1)
    assert np.array_equal(taken.array, encoded.array[rows])


@for_each(
    ("device", "torch"),
    [
        (GPU, None),
        (GPU, Torch(has_gpu=False)),
        # CTranslate2 would take an array on the second GPU for one on the first.
        (replace(GPU, index=1), Torch()),
        (replace(GPU, compute_type="bfloat16"), Torch()),
    ],
)
def test_without_a_way_on_the_gpu_rows_go_by_way_of_the_host(
    device: Device, torch: Torch | None, encoded: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    for rows in ([0, 2], [4, 3, 2, 1, 0], *([[1, 2]] if device.index else [])):
        taken = Rows(device).take(encoded, rows)
        assert taken.device == "cpu"
        assert np.array_equal(taken.array, encoded.array[rows])


def test_a_cpu_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it takes seconds and hundreds of megabytes."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    Rows(CPU)
    assert "torch" not in sys.modules
