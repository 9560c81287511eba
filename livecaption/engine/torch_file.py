"""Read the numbers of a file that torch has saved, without torch, and without running what is in it."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]

_STORAGES = {"FloatStorage": np.float32, "LongStorage": np.int64}


def read_tensors(source: Path | BinaryIO) -> Tensors:
    """Return the arrays of a saved state, by name.

    The file is a zip with a pickle, which names arrays, and their bytes. Only dictionaries and arrays are unpickled.

    Raises:
        ValueError: the file is damaged, or has anything else in it.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            root = archive.namelist()[0].partition("/")[0]
            with archive.open(f"{root}/data.pkl") as pickled:
                state = _Reader(pickled, archive, root).load()
    except (zipfile.BadZipFile, pickle.UnpicklingError, KeyError, IndexError, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"no saved tensors ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(value, np.ndarray) for value in state.values()):
        raise ValueError("no saved tensors (something else is in the file)")
    return dict(state)


class _Reader(pickle.Unpickler):
    def __init__(self, pickled: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(pickled)
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, *_ = pid
        return np.frombuffer(self._archive.read(f"{self._root}/data/{key}"), kind)

    @staticmethod
    def _tensor(numbers: npt.NDArray[Any], offset: int, shape: Any, strides: Any, *_: Any) -> npt.NDArray[Any]:
        n_numbers = int(np.prod(shape))
        if tuple(strides) != tuple(np.cumprod([1, *shape[:0:-1]])[::-1]) and n_numbers > 1:
            raise pickle.UnpicklingError("a tensor whose numbers are not in order")
        return numbers[offset : offset + n_numbers].reshape(shape)
