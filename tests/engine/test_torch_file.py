"""Numbers out of a file of torch, and nothing else."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livecaption.engine.torch_file import read_tensors
from tests.support.cases import for_each


class _Storage:
    """Pickled as torch does: a reference to bytes beside the pickle."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key


class _Global:
    """Pickled as the name of a class or a function that is not imported here."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class _Pickler(pickle._Pickler):  # the one in Python, in which names can be written
    write: Callable[[bytes], object]

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, _Storage):
            return ("storage", _Global("torch", value.kind), value.key, "cpu", 0)
        return None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, _Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, _Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


class _Call:
    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.function = _Global(module, name)
        self.arguments = arguments


def tensor(key: str, shape: tuple[int, ...], offset: int = 0, strides: Any = None, kind: str = "FloatStorage") -> _Call:
    usual = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    arguments = _Storage(kind, key), offset, shape, strides or usual, False, OrderedDict()
    return _Call("torch._utils", "_rebuild_tensor_v2", *arguments)


NUMBERS = np.arange(6, dtype=np.float32)


def saved(state: Any, root: str = "archive") -> io.BytesIO:
    pickled = io.BytesIO()
    _Pickler(pickled, protocol=2).dump(state)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{root}/data.pkl", pickled.getvalue())
        archive.writestr(f"{root}/data/0", NUMBERS.tobytes())
        archive.writestr(f"{root}/data/1", np.arange(3).tobytes())
    return file


def test_tensors_of_all_shapes_are_read(tmp_path: Path) -> None:
    state = {
        "matrix": tensor("0", (2, 3)),
        "row": tensor("0", (3,), offset=3),
        "scalar": tensor("1", (), offset=2, kind="LongStorage"),
    }
    (tmp_path / "state.pt").write_bytes(saved(state).getvalue())
    read = read_tensors(tmp_path / "state.pt")
    assert {name: value.tolist() for name, value in read.items()} == {
        "matrix": [[0, 1, 2], [3, 4, 5]],
        "row": [3, 4, 5],
        "scalar": 2,
    }
    assert (read["matrix"].dtype, read["scalar"].dtype) == (np.float32, np.int64)


@for_each(
    "state",
    [
        {"x": _Call("os", "system", "touch /tmp/livecaption-was-here")},
        {"x": _Call("builtins", "eval", "1")},
        {"x": _Global("torch._utils", "_rebuild_parameter")},
        {"x": tensor("0", (2, 3), strides=(1, 2))},
        {"x": tensor("0", (2, 4))},
        {"x": tensor("7", (2, 3))},
        {"x": tensor("0", (2, 3), kind="HalfStorage")},
        {"x": "text"},
        [tensor("0", (2, 3))],
    ],
)
def test_anything_else_is_refused_and_not_run(state: Any) -> None:
    with pytest.raises(ValueError, match="no saved tensors"):
        read_tensors(saved(state))
    assert not os.path.exists("/tmp/livecaption-was-here")


def test_a_damaged_file_is_refused() -> None:
    whole = saved({"x": tensor("0", (2, 3))}).getvalue()
    for damaged in (b"", b"no zip", whole[:-30], whole.replace(b"data.pkl", b"data.pxx")):
        with pytest.raises(ValueError, match="no saved tensors"):
            read_tensors(io.BytesIO(damaged))
