"""Turn the weights of CAM++, a network for voices, into a graph for ONNX Runtime with convolutions in 8 bits.

CAM++ (Wang et al. 2023, arxiv.org/abs/2303.00332) is that of 3D-Speaker. It makes frames of 20 ms from a filterbank,
and one embedding from the mean and the deviation of the frames.

    bands [1, n, 80] ─> frames [512, n / 2] ─mean, deviation─> x `pooling` ─> embedding [1, 192]

The graph has all three as outputs. With the frames and the matrix, any stretch of them has an embedding of its own,
from one pass. The graph differs from 3D-Speaker's in its form, not in what it computes: batch norms are part of the
convolutions before them, and gates are computed once for each 100 frames that share them.

Activations are rounded to 8 bits, so their ranges must be known. `RANGES` has them, so that the same graph is made on
each machine, bit by bit. Weights are rounded to 7 bits: a processor without VNNI adds two products in 16 bits.
Figures: docs/decisions/0061-voices.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from livecaption.engine.torch_file import Tensors

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]

N_FRAME_NUMBERS = 512
N_EMBEDDING = 192
SEGMENT_FRAMES = 100
"""Frames that share a gate."""
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers of each block, and the distance between the frames that one of its convolutions sees."""
_EPSILON = 1e-5
"""The least variance in batch norms, as in torch."""
_OPSET, _IR_VERSION = 18, 9
_MOST_8_BITS = 255
_MOST_WEIGHT = 64
"""Largest rounded weight. Two products with 255 are below 2**15."""

# fmt: off
RANGES = (
    25.4, 44.7, 116.0, 43.8, 41.1, 62.9, 32.7, 53.7, 64.2, 65.4, 59.2, 37.5, 94.5, 57.0, 49.9, 103.0, 41.2, 2.65,
    12.6, 11.9, 42.5, 13.1, 11.4, 24.7, 14.1, 7.25, 17.3, 10.5, 11.2, 17.3, 11.3, 7.91, 16.0, 12.3, 11.6, 24.7, 18.8,
    16.4, 16.5, 11.4, 9.56, 20.1, 12.8, 11.4, 11.8, 12.8, 18.2, 17.2, 10.2, 6.82, 12.8, 13.1, 11.8, 14.6, 19.2, 56.4,
    5.14, 4.27, 10.0, 4.46, 4.09, 11.9, 5.84, 4.78, 10.5, 6.6, 4.6, 9.08, 5.61, 5.08, 19.2, 5.43, 7.85, 11.0, 6.69,
    9.93, 18.5, 5.03, 7.74, 9.11, 5.18, 6.2, 12.0, 5.28, 8.05, 11.9, 5.67, 3.7, 8.93, 5.71, 4.49, 9.77, 7.09, 4.03,
    10.8, 6.22, 4.52, 8.18, 6.0, 4.55, 12.8, 5.2, 3.7, 9.78, 5.24, 4.43, 9.56, 6.04, 3.83, 9.67, 7.19, 4.74, 12.6,
    5.22, 4.22, 12.4, 5.22, 5.87, 9.1, 5.62, 3.55, 9.42, 7.17, 4.31, 14.7, 8.2, 4.73, 12.2, 21.7, 24.8, 3.82, 4.34,
    10.5, 3.29, 6.16, 14.2, 3.92, 4.98, 14.7, 3.61, 3.98, 13.9, 3.95, 9.6, 12.5, 3.45, 4.52, 15.5, 5.28, 5.92, 18.2,
    5.29, 5.83, 12.3, 4.44, 6.22, 9.17, 5.43, 7.25, 11.1, 5.57, 5.39, 12.7, 5.18, 8.56, 13.7, 9.51, 8.33, 11.2, 4.7,
    5.67, 12.0, 4.65, 5.4, 10.4, 5.81, 6.09, 24.7, 31.3, 52.9,
)
# fmt: on
"""Three quarters of the largest size of each activation in the speech of `tests/data`, in the order of rounding. Larger
ones are rare, and all others are rounded more finely for it."""


def build(state: Tensors, ranges: Sequence[float] | None = RANGES) -> ModelProto:
    """Return the graph of the network.

    Args:
        state: its weights, as 3D-Speaker saves them.
        ranges: the largest size of each activation that is rounded; None: nothing is rounded, and each activation that
            would be is an output, too.

    Raises:
        KeyError, ValueError: these are not its weights.
    """
    graph = _Graph(state, ranges)
    bands = graph.op("Unsqueeze", graph.op("Transpose", "bands", perm=[0, 2, 1]), graph.constant(np.array([1])))
    frames = _frames(graph, _head(graph, graph.rounded(bands, is_signed=True)))
    axes = graph.constant(np.array([2]))
    mean = graph.op("ReduceMean", frames, axes, keepdims=1)
    spread = graph.op("Sub", frames, mean)
    total = graph.op("ReduceSum", graph.op("Mul", spread, spread), axes, keepdims=1)
    one = graph.constant(np.ones(1, np.float32))
    n_others = graph.op("Sub", graph.op("Cast", graph.n_frames(frames), to=TensorProto.FLOAT), one)
    deviation = graph.op("Sqrt", graph.op("Div", total, graph.op("Max", n_others, one)))
    matrix = graph.constant(pooling(state))
    statistics = graph.op("Concat", mean, deviation, graph.constant(np.ones((1, 1, 1), np.float32)), axis=1)
    graph.add("Squeeze", [graph.op("MatMul", matrix, statistics), axes], "embedding")
    graph.add("Identity", [frames], "frames")
    graph.add("Identity", [matrix], "pooling")
    return graph.model()


def pooling(state: Tensors) -> Floats:
    """Return the matrix from mean, deviation and 1 to the embedding, float32 [192, 1025].

    Raises:
        KeyError: these are not the weights of the network.
    """
    scale, shift = _norm(state, "xvector.dense.nonlinear.batchnorm")
    return np.hstack([state["xvector.dense.linear.weight"][:, :, 0] * scale[:, None], shift[:, None]])


def _norm(state: Tensors, name: str) -> tuple[Floats, Floats]:
    """Return the factors and the summands of a batch norm."""
    variance: Floats = state[f"{name}.running_var"]
    weight = state.get(f"{name}.weight", np.ones_like(variance))
    scale = weight / np.sqrt(variance + np.float32(_EPSILON))
    return scale, state.get(f"{name}.bias", np.zeros_like(variance)) - state[f"{name}.running_mean"] * scale


class _Graph:
    """A graph that grows. Its methods add nodes, and return the names of their outputs."""

    def __init__(self, state: Tensors, ranges: Sequence[float] | None) -> None:
        self.state = state
        self._ranges = ranges
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._activations: list[str] = []
        self._scales: dict[str, np.float32] = {}

    def constant(self, value: Array) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.add(kind, inputs, f"t{len(self._nodes)}", **attributes)

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def n_frames(self, x: str) -> str:
        return self.op("Shape", x, start=2, end=3)

    def norm(self, x: str, name: str) -> str:
        scale, shift = _norm(self.state, name)
        return self.op("Add", self.op("Mul", x, self.constant(scale[:, None])), self.constant(shift[:, None]))

    def rounded(self, x: str, *, is_signed: bool = False) -> str:
        """Round an activation to 8 bits. Without a sign it is never negative."""
        number = len(self._activations)
        self._activations.append(x)
        if self._ranges is None:
            return x
        return self._round(x, np.float32(self._ranges[number]), is_signed=is_signed)

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        """Give a rounded activation without a sign another shape."""
        y = self.op("Reshape", x, self.constant(np.array(shape)))
        return y if self._ranges is None else self._round(y, self._scales[x] * _MOST_8_BITS, is_signed=False)

    def _round(self, x: str, largest: np.float32, *, is_signed: bool) -> str:
        scale = np.float32(largest * 2 / _MOST_8_BITS if is_signed else largest / _MOST_8_BITS)
        form = self.constant(np.array(scale)), self.constant(np.array(128 if is_signed else 0, np.uint8))
        y = self.op("DequantizeLinear", self.op("QuantizeLinear", x, *form), *form)
        self._scales[y] = scale
        return y

    def conv(self, x: str, name: str, norm: str = "", *, is_exact: bool = False, **attributes: Any) -> str:
        """Add a convolution, and the batch norm that follows it.

        Unless `is_exact`, its input is rounded, and its output must be.
        """
        weight: Floats = self.state[f"{name}.weight"]
        bias: Floats = self.state.get(f"{name}.bias", np.zeros(len(weight), np.float32))
        if norm:
            scale, shift = _norm(self.state, norm)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * scale + shift
        if is_exact or self._ranges is None:
            return self.op("Conv", x, self.constant(weight), self.constant(bias), **attributes)
        flat = weight.reshape(len(weight), -1)
        sizes = np.maximum(np.abs(flat).max(axis=1), np.float32(1e-12)) / np.float32(_MOST_WEIGHT)
        bias_sizes = sizes * self._scales[x]
        return self.op(
            "Conv",
            x,
            self._weights(np.rint(flat / sizes[:, None]).reshape(weight.shape).astype(np.int8), sizes),
            self._weights(np.rint(bias / bias_sizes).astype(np.int32), bias_sizes),
            **attributes,
        )

    def _weights(self, integers: Array, sizes: Floats) -> str:
        zeros = np.zeros(len(sizes), integers.dtype)
        return self.op("DequantizeLinear", self.constant(integers), self.constant(sizes), self.constant(zeros), axis=0)

    def model(self) -> ModelProto:
        if self._ranges is not None and len(self._ranges) != len(self._activations):
            raise ValueError(f"{len(self._activations)} activations need a range each")
        outputs = [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, N_EMBEDDING]),
            helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, N_FRAME_NUMBERS, None]),
            helper.make_tensor_value_info("pooling", TensorProto.FLOAT, [N_EMBEDDING, 2 * N_FRAME_NUMBERS + 1]),
        ]
        if self._ranges is None:
            outputs += [helper.make_tensor_value_info(x, TensorProto.FLOAT, None) for x in self._activations]
        bands = helper.make_tensor_value_info("bands", TensorProto.FLOAT, [1, None, 80])
        graph = helper.make_graph(self._nodes, "campplus", [bands], outputs, self._constants)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="livecaption",
        )


def _head(graph: _Graph, x: str) -> str:
    """Add the convolutions over time and bands, which leave a tenth of the bands. Each keeps the frames."""

    def block(x: str, name: str, stride: int) -> str:
        attributes: dict[str, Any] = {"strides": [stride, 1], "pads": [1] * 4}
        y = graph.rounded(graph.relu(graph.conv(x, f"{name}.conv1", f"{name}.bn1", **attributes)))
        y = graph.rounded(graph.conv(y, f"{name}.conv2", f"{name}.bn2", pads=[1] * 4), is_signed=True)
        if stride != 1:
            x = graph.conv(x, f"{name}.shortcut.0", f"{name}.shortcut.1", strides=[stride, 1])
            x = graph.rounded(x, is_signed=True)
        return graph.rounded(graph.relu(graph.op("Add", y, x)))

    x = graph.rounded(graph.relu(graph.conv(x, "head.conv1", "head.bn1", pads=[1] * 4)))
    for layer in ("head.layer1", "head.layer2"):
        x = block(block(x, f"{layer}.0", 2), f"{layer}.1", 1)
    x = graph.rounded(graph.relu(graph.conv(x, "head.conv2", "head.bn2", strides=[2, 1], pads=[1] * 4)))
    return graph.reshaped(x, (0, 320, -1))


def _frames(graph: _Graph, x: str) -> str:
    """Add the blocks, whose layers see all that those before them have made. They halve the frames."""
    x = graph.conv(x, "xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm", strides=[2], pads=[2, 2])
    x = graph.rounded(graph.relu(x))
    zero, one, segment = (graph.constant(np.array(n)) for n in (0, 1, SEGMENT_FRAMES))
    n_frames = graph.op("Squeeze", graph.n_frames(x))
    segments = graph.op("Div", graph.op("Range", zero, n_frames, one), segment)
    for i, (n_layers, dilation) in enumerate(BLOCKS, 1):
        for j in range(1, n_layers + 1):
            x = graph.op("Concat", x, _layer(graph, x, f"xvector.block{i}.tdnnd{j}", dilation, segments), axis=1)
        name = f"xvector.transit{i}"
        x = graph.conv(graph.rounded(graph.relu(graph.norm(x, f"{name}.nonlinear.batchnorm"))), f"{name}.linear")
        x = graph.rounded(x, is_signed=True)
    return graph.relu(graph.norm(x, "xvector.out_nonlinear.batchnorm"))


def _layer(graph: _Graph, x: str, name: str, dilation: int, segments: str) -> str:
    """Add a layer: a convolution that sees three frames, times gates that see the whole and each segment."""
    y = graph.rounded(graph.relu(graph.norm(x, f"{name}.nonlinear1.batchnorm")))
    y = graph.rounded(graph.relu(graph.conv(y, f"{name}.linear1", f"{name}.nonlinear2.batchnorm")))
    local = graph.conv(y, f"{name}.cam_layer.linear_local", dilations=[dilation], pads=[dilation] * 2)
    local = graph.rounded(local, is_signed=True)
    whole = graph.op("ReduceMean", y, graph.constant(np.array([2])), keepdims=1)
    means = graph.op("AveragePool", y, kernel_shape=[SEGMENT_FRAMES], strides=[SEGMENT_FRAMES], ceil_mode=1)
    gates = graph.relu(graph.conv(graph.op("Add", means, whole), f"{name}.cam_layer.linear1", is_exact=True))
    gates = graph.op("Sigmoid", graph.conv(gates, f"{name}.cam_layer.linear2", is_exact=True))
    return graph.op("Mul", local, graph.op("Gather", gates, segments, axis=2))
