"""The installed network for voices, and small ones for tests that need none in particular."""

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from livecaption.engine.speaker_model import FILE

DATA_HOME = Path(__file__).parent.parent.parent / "build" / "data"
"""`XDG_DATA_HOME` of the network that tests use."""
INSTALL = 'XDG_DATA_HOME="$PWD/build/data" livecaption models install speakers'


def installed_network() -> Path:
    """Return the file of the network for voices. Without it the test is skipped, and fails in CI."""
    file = DATA_HOME / "livecaption" / "models" / "speakers" / FILE
    if not file.is_file():
        if "CI" in os.environ:
            pytest.fail(f"there is no network for voices: {INSTALL}")
        pytest.skip(f"there is no network for voices: {INSTALL}")
    return file


def mean_network(file: Path, *, n_bands: int = 80, n_numbers: int = 4, axes: tuple[int, ...] = (1,)) -> Path:
    """Write a network whose embedding is the mean of the first bands over these axes, such as that of a filterbank."""
    nodes = [
        helper.make_node("Abs", ["x"], ["sizes"]),
        helper.make_node("ReduceMean", ["sizes", "axes"], ["means"], keepdims=0),
        helper.make_node("Slice", ["means", "zero", "n", "last"], ["y"]),
    ]
    constants = {"axes": [*axes], "zero": [0], "n": [n_numbers], "last": [-1]}
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, n_bands])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    file.write_bytes(model.SerializeToString())
    return file
