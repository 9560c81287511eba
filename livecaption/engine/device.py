"""Choose the device to load a model on, from `auto`, `cpu`, `cuda` or `cuda:1`.

This module does not depend on models. It runs in the inference process. It may block for seconds: a driver wakes its
GPU, and cuBLAS has 600 MB.
"""

import logging
import re
from dataclasses import dataclass, field
from typing import Literal

import ctranslate2

from livecaption.engine import cuda
from livecaption.errors import EngineUnusable
from livecaption.ipc.gpus import Driver, Gpu
from livecaption.recognition import DeviceMemory

DeviceKind = Literal["cpu", "cuda"]

AUTO_COMPUTE_TYPES: dict[DeviceKind, tuple[str, ...]] = {
    "cpu": ("int8",),
    "cuda": ("float16", "int8_float32", "float32"),
}
"""Compute types for `auto`, the fastest first. GPUs before 2017 (Pascal) have no float16."""

NO_DRIVER = "install NVIDIA's driver"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """A device to load a model on, and how it computes.

    Attributes:
        kind: CPU or GPU.
        index: number of the GPU in CUDA's order; 0 for the CPU.
        name: the name that people read: `cpu`, or `NVIDIA H200 (cuda:0)`.
        compute_type: a type that this device supports, such as `int8` or `float16`.
        gpu, driver: the GPU and its driver; None for the CPU.
    """

    kind: DeviceKind
    index: int
    name: str
    compute_type: str
    gpu: Gpu | None = None
    driver: Driver | None = field(default=None, compare=False, repr=False)


def choose_device(device: str = "auto", compute_type: str = "auto") -> Device:
    """Return the device for these settings, ready for a model.

    Args:
        device: `auto` (a GPU if there is one, otherwise the CPU), `cpu`, `cuda` (the first GPU) or `cuda:N`.
        compute_type: `auto` (see `AUTO_COMPUTE_TYPES`) or a type of CTranslate2.

    Raises:
        EngineUnusable: this machine has no such device, it cannot be used, or it does not support the type.
    """
    match = re.fullmatch(r"(auto|cpu)|cuda(?::(\d+))?", device)
    if match is None:
        raise EngineUnusable(f"Unknown device {device!r}: use auto, cpu, cuda or cuda:N")
    if device == "cpu":
        return _cpu(compute_type)
    index = int(match[2] or 0)
    driver, problem = cuda.find_driver()
    if driver is not None and index < len(driver.gpus):
        cuda.check_support(driver.gpus[index], driver)
    if driver is not None and ctranslate2.get_cuda_device_count() == 0:
        driver, problem = None, "CTranslate2 finds no GPU; its package for this platform may have no CUDA"
    if driver is not None:
        return _gpu(device, index, driver, compute_type)
    if device == "auto":
        if problem:
            logger.warning("the CPU is used: %s", problem)
        return _cpu(compute_type)
    raise EngineUnusable(f"No CUDA device for --device {device} (found: none): {problem or NO_DRIVER}, or use cpu")


def device_memory(device: Device) -> DeviceMemory | None:
    """Return how much of the GPU's memory all programs use now; None for the CPU, and if the GPU does not report it."""
    if device.gpu is None or device.driver is None:
        return None
    try:
        return device.driver.memory(device.gpu)
    except OSError:  # a lost GPU shows in the next batch
        return None


def _cpu(compute_type: str) -> Device:
    return Device("cpu", 0, "cpu", _choose_compute_type("cpu", 0, compute_type))


def _gpu(device: str, index: int, driver: Driver, compute_type: str) -> Device:
    if index >= len(driver.gpus):
        found = f"cuda:0 to cuda:{len(driver.gpus) - 1}"
        raise EngineUnusable(f"No CUDA device for --device {device} (found: {found}); use one of them, or cpu")
    gpu = driver.gpus[index]
    compute_type = _choose_compute_type("cuda", index, compute_type)
    cuda.prepare(gpu, driver)
    return Device("cuda", index, f"{gpu.name} (cuda:{index})", compute_type, gpu, driver)


def _choose_compute_type(kind: DeviceKind, index: int, compute_type: str) -> str:
    supported = ctranslate2.get_supported_compute_types(kind, index)
    wanted = AUTO_COMPUTE_TYPES[kind] if compute_type == "auto" else (compute_type,)
    for each in wanted:
        if each in supported:
            return each
    choices = ", ".join(sorted(supported))
    raise EngineUnusable(f"Compute type {wanted[-1]!r} does not work on this {kind} device: use one of {choices}")
