"""CAM++ in numpy, layer by layer as 3D-Speaker defines it, and weights by chance for it."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
State = dict[str, npt.NDArray[np.float32]]

BLOCKS = ((12, 1), (24, 2), (16, 2))
GROWTH = 32


def random_state(seed: int = 0) -> State:
    """Return weights whose activations neither vanish nor explode."""
    chance = np.random.default_rng(seed)
    state: State = {}

    def convolution(name: str, *shape: int, has_bias: bool = False) -> None:
        state[f"{name}.weight"] = chance.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        if has_bias:
            state[f"{name}.bias"] = chance.normal(0, 0.1, shape[0]).astype(np.float32)

    def norm(name: str, n: int, *, is_affine: bool = True) -> None:
        state[f"{name}.running_mean"] = chance.normal(0, 0.2, n).astype(np.float32)
        state[f"{name}.running_var"] = chance.uniform(0.5, 1.5, n).astype(np.float32)
        if is_affine:
            state[f"{name}.weight"] = chance.uniform(0.7, 1.3, n).astype(np.float32)
            state[f"{name}.bias"] = chance.normal(0, 0.2, n).astype(np.float32)

    for name, before in (("conv1", 1), ("conv2", 32)):
        convolution(f"head.{name}", 32, before, 3, 3)
        norm(f"head.bn{name[-1]}", 32)
    for layer in ("head.layer1", "head.layer2"):
        for block in (0, 1):
            for n in (1, 2):
                convolution(f"{layer}.{block}.conv{n}", 32, 32, 3, 3)
                norm(f"{layer}.{block}.bn{n}", 32)
        convolution(f"{layer}.0.shortcut.0", 32, 32, 1, 1)
        norm(f"{layer}.0.shortcut.1", 32)
    convolution("xvector.tdnn.linear", 128, 320, 5)
    norm("xvector.tdnn.nonlinear.batchnorm", 128)
    n_channels = 128
    for i, (n_layers, _) in enumerate(BLOCKS, 1):
        for j in range(1, n_layers + 1):
            name = f"xvector.block{i}.tdnnd{j}"
            norm(f"{name}.nonlinear1.batchnorm", n_channels)
            convolution(f"{name}.linear1", 128, n_channels, 1)
            norm(f"{name}.nonlinear2.batchnorm", 128)
            convolution(f"{name}.cam_layer.linear_local", GROWTH, 128, 3)
            convolution(f"{name}.cam_layer.linear1", 64, 128, 1, has_bias=True)
            convolution(f"{name}.cam_layer.linear2", GROWTH, 64, 1, has_bias=True)
            n_channels += GROWTH
        norm(f"xvector.transit{i}.nonlinear.batchnorm", n_channels)
        convolution(f"xvector.transit{i}.linear", n_channels // 2, n_channels, 1)
        n_channels //= 2
    norm("xvector.out_nonlinear.batchnorm", n_channels)
    convolution("xvector.dense.linear", 192, 2 * n_channels, 1)
    norm("xvector.dense.nonlinear.batchnorm", 192, is_affine=False)
    return state


def embedding(state: State, bands: npt.NDArray[np.float32]) -> Floats:
    """Return the embedding [192] of a filterbank [n_frames, 80], without the last ReLU."""
    wide = {name: value.astype(np.float64) for name, value in state.items()}

    def norm(x: Floats, name: str) -> Floats:
        shape = (-1, *[1] * (x.ndim - 1))
        mean, variance = wide[f"{name}.running_mean"], wide[f"{name}.running_var"]
        x = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-5)
        if f"{name}.weight" in wide:
            x = x * wide[f"{name}.weight"].reshape(shape) + wide[f"{name}.bias"].reshape(shape)
        return x

    def conv2d(x: Floats, name: str, stride: int = 1) -> Floats:
        weight = wide[f"{name}.weight"]
        edge = weight.shape[-1] // 2
        x = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
        seen = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(1, 2))[:, ::stride]
        return np.einsum("chwij,ocij->ohw", seen, weight, optimize=True)

    def conv1d(x: Floats, name: str, stride: int = 1, dilation: int = 1) -> Floats:
        weight = wide[f"{name}.weight"]
        n = weight.shape[-1]
        x = np.pad(x, ((0, 0), (n // 2 * dilation, n // 2 * dilation)))
        seen = np.lib.stride_tricks.sliding_window_view(x, (n - 1) * dilation + 1, axis=1)[:, ::stride, ::dilation]
        return np.einsum("cti,oci->ot", seen, weight, optimize=True) + wide.get(f"{name}.bias", np.zeros(1))[:, None]

    def relu(x: Floats) -> Floats:
        return np.maximum(x, 0)

    def block(x: Floats, name: str, stride: int) -> Floats:
        y = relu(norm(conv2d(x, f"{name}.conv1", stride), f"{name}.bn1"))
        y = norm(conv2d(y, f"{name}.conv2"), f"{name}.bn2")
        return relu(y + (x if stride == 1 else norm(conv2d(x, f"{name}.shortcut.0", stride), f"{name}.shortcut.1")))

    def layer(x: Floats, name: str, dilation: int) -> Floats:
        y = conv1d(relu(norm(x, f"{name}.nonlinear1.batchnorm")), f"{name}.linear1")
        y = relu(norm(y, f"{name}.nonlinear2.batchnorm"))
        segments = [y[:, at : at + 100] for at in range(0, y.shape[1], 100)]
        means = np.hstack([np.repeat(part.mean(axis=1, keepdims=True), part.shape[1], axis=1) for part in segments])
        context = y.mean(axis=1, keepdims=True) + means
        gate = conv1d(relu(conv1d(context, f"{name}.cam_layer.linear1")), f"{name}.cam_layer.linear2")
        return conv1d(y, f"{name}.cam_layer.linear_local", dilation=dilation) / (1 + np.exp(-gate))

    x = relu(norm(conv2d(bands.T[np.newaxis].astype(np.float64), "head.conv1"), "head.bn1"))
    for name in ("head.layer1", "head.layer2"):
        x = block(block(x, f"{name}.0", 2), f"{name}.1", 1)
    x = relu(norm(conv2d(x, "head.conv2", 2), "head.bn2"))
    x = relu(norm(conv1d(x.reshape(320, -1), "xvector.tdnn.linear", 2), "xvector.tdnn.nonlinear.batchnorm"))
    for i, (n_layers, dilation) in enumerate(BLOCKS, 1):
        for j in range(1, n_layers + 1):
            x = np.concatenate([x, layer(x, f"xvector.block{i}.tdnnd{j}", dilation)])
        x = conv1d(relu(norm(x, f"xvector.transit{i}.nonlinear.batchnorm")), f"xvector.transit{i}.linear")
    x = relu(norm(x, "xvector.out_nonlinear.batchnorm"))
    pooled = np.concatenate([x.mean(axis=1), x.std(axis=1, ddof=1)])[:, None]
    return norm(conv1d(pooled, "xvector.dense.linear")[:, 0], "xvector.dense.nonlinear.batchnorm")
