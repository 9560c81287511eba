"""The graph of CAM++ computes what 3D-Speaker's layers compute, and is the same on each machine."""

import hashlib

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from livecaption.engine.campplus import RANGES, build, pooling
from livecaption.engine.torch_file import Tensors
from tests.support.campplus import embedding, random_state
from tests.support.cases import for_each


@pytest.fixture(scope="module")
def state() -> Tensors:
    return random_state()


@pytest.fixture(scope="module")
def exact(state: Tensors) -> onnxruntime.InferenceSession:
    return session(state, None)


def session(state: Tensors, ranges: tuple[float, ...] | None) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(build(state, ranges).SerializeToString(), providers=["CPUExecutionProvider"])


def noise(n_frames: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(n_frames).normal(0, 3, (n_frames, 80)).astype(np.float32)


@for_each("n_frames", [30, 200, 203])
def test_the_graph_computes_the_embedding_of_the_layers(
    state: Tensors, exact: onnxruntime.InferenceSession, n_frames: int
) -> None:
    """2e-5 when this was written. 200 frames are 100 of those that share a gate."""
    [[made]] = exact.run(["embedding"], {"bands": noise(n_frames)[np.newaxis]})
    np.testing.assert_allclose(made, embedding(state, noise(n_frames)), atol=1e-3)


def test_frames_and_pooling_make_the_embedding(state: Tensors, exact: onnxruntime.InferenceSession) -> None:
    whole, frames, matrix = exact.run(["embedding", "frames", "pooling"], {"bands": noise(210)[np.newaxis]})
    assert frames.shape == (1, 512, 105)
    np.testing.assert_array_equal(matrix, pooling(state))
    statistics = np.concatenate([frames[0].mean(axis=1), frames[0].std(axis=1, ddof=1), [1.0]])
    np.testing.assert_allclose(matrix @ statistics, whole[0], atol=1e-4)


def test_a_rounded_graph_computes_nearly_the_same(state: Tensors, exact: onnxruntime.InferenceSession) -> None:
    bands = {"bands": noise(210)[np.newaxis]}
    made = exact.run(None, bands)[3:]
    ranges = tuple(float(np.abs(activation).max()) for activation in made)
    assert len(ranges) == len(RANGES)
    [true], [rounded] = (each.run(["embedding"], bands)[0] for each in (exact, session(state, ranges)))
    assert true @ rounded / np.linalg.norm(true) / np.linalg.norm(rounded) > 0.99


def test_weights_are_rounded_to_what_no_processor_saturates(state: Tensors) -> None:
    """Without VNNI, two products of 8-bit numbers are added in 16 bits: 2 * 255 * 64 < 2**15."""
    constants = [constant for constant in build(state).graph.initializer if constant.data_type == constant.INT8]
    weights = [np.frombuffer(constant.raw_data, np.int8) for constant in constants]
    largest = [int(np.abs(weight.astype(int)).max()) for weight in weights]
    assert sum(value == 64 for value in largest) == 120  # the others are zero points
    assert max(largest) == 64


def test_the_same_weights_make_the_same_bytes_on_each_machine() -> None:
    """The hash is that of the first machine. Another one means that no installed network would be accepted."""
    made = build({name: np.round(value, 2) for name, value in random_state().items()}).SerializeToString()
    assert hashlib.sha256(made).hexdigest() == "e73c41deaa59168519d2c927ba54ec134862d70b28dd039a5068c8144b32dae5"


def test_weights_of_another_network_are_refused(state: Tensors) -> None:
    without = {name: value for name, value in state.items() if name != "head.conv1.weight"}
    with pytest.raises(KeyError, match=r"head\.conv1"):
        build(without)
    with pytest.raises(ValueError, match="180 activations"):
        build(state, (*RANGES, 1.0))
