"""Check that a GPU computes the numbers of a model that a CPU computes.

CTranslate2 does not ask CUDA whether its kernels ran. Where they did not, it returns texts all the same, mostly empty
ones. Some GPUs compute NaN with some compute types.
"""

from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt

from livecaption.engine.device import Device
from livecaption.errors import EngineUnusable

CHECKED_S = 2
"""Audio in s that is encoded. More: it takes longer on the CPU. Less: fewer positions that may be wrong."""
MAX_ERROR = 0.1
MAX_ERROR_OF_INT8 = 0.3
"""Largest relative error against float32 on the CPU. float16 has about 0.01; int8 had 0.06 (tiny.en) to 0.1 (base) on a
CPU, and memory that no kernel wrote has 1 or more: docs/decisions/0052-what-a-gpu-needs.md."""


def check_encoder(model: Any, directory: Path, device: Device) -> None:
    """Encode fixed noise on the device and on the CPU, and compare.

    Args:
        model: a `ctranslate2.models.Whisper` on the device.
        directory: files of the model; it is loaded once more, as float32 on the CPU, and freed again.
        device: the device.

    Raises:
        EngineUnusable: the numbers differ; the message has the way out.
        RuntimeError: CTranslate2 failed.
    """
    noise = np.random.default_rng(0).standard_normal((1, model.n_mels, 100 * CHECKED_S)).astype(np.float32)
    found = _encode(model, noise)
    other_type = f"choose another --compute-type than {device.compute_type}"
    if not np.isfinite(found).all():
        raise EngineUnusable(f"{device.name} computes no numbers (NaN) with this model: {other_type}, such as float32")
    if np.ptp(found) == 0:
        raise EngineUnusable(
            f"{device.name} runs no code of CTranslate2, and reports no error: update NVIDIA's driver, or use "
            "--device cpu"
        )
    # The destructor of a model may hang, so one that serves is never destroyed. Here nothing else computes, and the
    # dead-man's switch of the load ends a process that hangs.
    reference = ctranslate2.models.Whisper(str(directory), device="cpu", compute_type="float32")
    expected = _encode(reference, noise)
    reference.unload_model()
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if error > (MAX_ERROR_OF_INT8 if device.compute_type.startswith("int8") else MAX_ERROR):
        raise EngineUnusable(
            f"{device.name} computes other numbers than the CPU (relative error {error:.2f}): {other_type}, or update "
            "NVIDIA's driver"
        )


def _encode(model: Any, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    encoded = model.encode(ctranslate2.StorageView.from_array(features))
    return np.asarray(encoded.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu))
