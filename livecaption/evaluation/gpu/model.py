"""Halve the file of a Whisper model in CTranslate2's format, float16 to int8. CTranslate2 computes in any type from it.

The format is that of `ctranslate2/specs/model_spec.py` (binary version 6), which can write it but not read it.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TYPES = tuple(map(np.dtype, ("float32", "int8", "int16", "int32", "float16", "uint16")))
"""Types by their number in the file. numpy has no bfloat16, so its bytes are kept as uint16."""
INT8_PEAK = 127


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The content of `model.bin`.

    Attributes:
        aliases: other names of variables, and their names.
    """

    version: int
    name: str
    revision: int
    variables: dict[str, Array]
    aliases: list[tuple[str, str]]


def read_model(file: BinaryIO) -> ModelFile:
    """Read a `model.bin`."""

    def number(code: str) -> int:
        return int(struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0])

    def text() -> str:
        return file.read(number("H"))[:-1].decode()

    def variable() -> Array:
        shape = [number("I") for _ in range(number("B"))]
        dtype = TYPES[number("B")]
        return np.frombuffer(file.read(number("I")), dtype).reshape(shape)

    version, name, revision = number("I"), text(), number("I")
    variables = {text(): variable() for _ in range(number("I"))}
    return ModelFile(version, name, revision, variables, [(text(), text()) for _ in range(number("I"))])


def write_model(model: ModelFile, file: BinaryIO) -> None:
    """Write a `model.bin`."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    file.write(struct.pack("<I", model.version) + text(model.name))
    file.write(struct.pack("<II", model.revision, len(model.variables)))
    for name, value in sorted(model.variables.items()):
        file.write(text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape))
        file.write(struct.pack("<BI", TYPES.index(value.dtype), value.nbytes) + value.tobytes())
    file.write(struct.pack("<I", len(model.aliases)))
    for alias, name in model.aliases:
        file.write(text(alias) + text(name))


def as_int8(model: ModelFile) -> ModelFile:
    """Quantize matrices of linear layers and embeddings, with a scale for each row, as CTranslate2's converter does."""
    variables, aliases = dict(model.variables), list(model.aliases)
    for name, value in model.variables.items():
        if not name.endswith("/weight") or value.ndim != 2 or value.dtype.kind != "f":
            continue
        rows = value.astype(np.float32)
        peaks = np.abs(rows).max(axis=1)
        scales = np.where(peaks == 0, 1, INT8_PEAK / np.maximum(peaks, 1e-30)).astype(np.float32)
        variables[name] = np.rint(rows * scales[:, None]).astype(np.int8)
        variables[f"{name}_scale"] = scales
        aliases += [(f"{alias}_scale", f"{name}_scale") for alias, target in model.aliases if target == name]
    return ModelFile(model.version, model.name, model.revision, variables, aliases)
