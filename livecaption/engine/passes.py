"""Sort windows into passes of the model, and take the part of the encoder's output that belongs to one."""

import importlib
from collections import defaultdict
from collections.abc import Callable, Hashable, ItemsView, Iterable, Sequence
from typing import Any, TypeVar

import ctranslate2
import numpy as np

from livecaption.engine.device import Device

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> ItemsView[Key, list[Item]]:
    """Sort items into lists of equal keys; both keep their order."""
    groups: defaultdict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups.items()


class Rows:
    """Takes rows of an encoder's output, a `StorageView` [n_windows, n_frames, width].

    On the first GPU, neighbours are not copied. Others are copied there by torch if that is installed and can use the
    GPU, otherwise by way of the host. CTranslate2 moves them back itself. Loading torch takes seconds; on a CPU it is
    not loaded.
    """

    def __init__(self, device: Device) -> None:
        # CTranslate2 takes each array that it is given for one of the first GPU. bfloat16 has no array interface.
        self._stay = device.kind == "cuda" and device.index == 0 and "bfloat16" not in device.compute_type
        self._torch = _torch_with_cuda() if self._stay else None

    def take(self, encoded: Any, rows: Sequence[int]) -> Any:
        """Return some rows, in the order in which they are asked for."""
        if list(rows) == list(range(encoded.shape[0])):
            return encoded
        if self._stay and list(rows) == list(range(rows[0], rows[0] + len(rows))):
            return ctranslate2.StorageView.from_array(_Neighbours(encoded, rows[0], len(rows)))
        if self._torch is not None:
            taken = self._torch.as_tensor(encoded, device="cuda:0")[list(rows)]
            self._torch.cuda.current_stream().synchronize()
            return ctranslate2.StorageView.from_array(taken)
        on_host = encoded.to_device(ctranslate2.Device.cpu)
        if on_host.dtype == ctranslate2.DataType.bfloat16:
            on_host = on_host.to(ctranslate2.DataType.float32)
        return ctranslate2.StorageView.from_array(np.asarray(on_host)[list(rows)])


def _torch_with_cuda() -> Any:
    """Return torch; None if it is not installed or cannot use the GPU."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


class _Neighbours:
    """Rows of an array on a GPU that follow one another, without a copy. The array lives as long as they do."""

    def __init__(self, array: Any, first: int, n_rows: int) -> None:
        whole = array.__cuda_array_interface__
        _, *row_shape = whole["shape"]
        n_row_bytes = int(np.prod(row_shape)) * np.dtype(whole["typestr"]).itemsize
        address, is_read_only = whole["data"]
        self._array = array
        self.__cuda_array_interface__ = {
            **whole,
            "shape": (n_rows, *row_shape),
            "data": (address + first * n_row_bytes, is_read_only),
        }
