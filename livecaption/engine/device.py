"""Choose the device to load a model on, from `auto`, `cpu`, `cuda` or `cuda:1`.

This module does not depend on models. It runs in the inference process. It may block for seconds: if a GPU is used and
torch is installed, torch is imported. For the CPU torch is never imported.
"""

import importlib
import re
from dataclasses import dataclass
from typing import Literal

import ctranslate2

from livecaption.errors import EngineUnusable
from livecaption.recognition import DeviceMemory

DeviceKind = Literal["cpu", "cuda"]

DEFAULT_COMPUTE_TYPES: dict[DeviceKind, str] = {"cpu": "int8", "cuda": "float16"}
"""Compute types for `auto`: the fastest that every CPU, and every GPU of the last eight years, supports."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device to load a model on, and how it computes.

    Attributes:
        kind: CPU or GPU.
        index: number of the GPU in CUDA's order; 0 for the CPU.
        name: the name that people read: `cpu`, `cuda:0`, or with torch `NVIDIA H200 (cuda:0)`.
        compute_type: a type that this device supports, such as `int8` or `float16`.
        free_bytes, total_bytes: memory of the GPU before loading; None for the CPU and without torch.
    """

    kind: DeviceKind
    index: int
    name: str
    compute_type: str
    free_bytes: int | None = None
    total_bytes: int | None = None


def choose_device(device: str = "auto", compute_type: str = "auto") -> Device:
    """Return the device for these settings.

    Args:
        device: `auto` (a GPU if there is one, otherwise the CPU), `cpu`, `cuda` (the first GPU) or `cuda:N`.
        compute_type: `auto` (see `DEFAULT_COMPUTE_TYPES`) or a type of CTranslate2.

    Raises:
        EngineUnusable: this machine has no such device, or the device does not support the type.
    """
    kind, index = _parse(device)
    compute_type = _choose_compute_type(kind, index, compute_type)
    if kind == "cpu":
        return Device("cpu", 0, "cpu", compute_type)
    return _describe_gpu(index, compute_type)


def device_memory(device: Device) -> DeviceMemory | None:
    """Return how much of the GPU's memory all programs use now; None for the CPU and without torch."""
    if device.total_bytes is None:
        return None
    free_bytes, total_bytes = importlib.import_module("torch").cuda.mem_get_info(device.index)
    return DeviceMemory(total_bytes - free_bytes, total_bytes)


def _parse(device: str) -> tuple[DeviceKind, int]:
    match = re.fullmatch(r"(auto|cpu)|cuda(?::(\d+))?", device)
    if match is None:
        raise EngineUnusable(f"Unknown device {device!r}: use auto, cpu, cuda or cuda:N")
    n_gpus = ctranslate2.get_cuda_device_count()
    if device == "cpu" or (device == "auto" and n_gpus == 0):
        return "cpu", 0
    index = int(match[2] or 0)
    if index >= n_gpus:
        found = "none" if n_gpus == 0 else f"cuda:0 to cuda:{n_gpus - 1}"
        raise EngineUnusable(f"No CUDA device for --device {device} (found: {found}); check the driver, or use cpu")
    return "cuda", index


def _choose_compute_type(kind: DeviceKind, index: int, compute_type: str) -> str:
    if compute_type == "auto":
        compute_type = DEFAULT_COMPUTE_TYPES[kind]
    supported = ctranslate2.get_supported_compute_types(kind, index)
    if compute_type not in supported:
        choices = ", ".join(sorted(supported))
        raise EngineUnusable(f"Compute type {compute_type!r} does not work on this {kind} device: use one of {choices}")
    return compute_type


def _describe_gpu(index: int, compute_type: str) -> Device:
    """Import torch if it is installed, because CTranslate2 finds its cuBLAS and cuDNN once torch has loaded them."""
    name = f"cuda:{index}"
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return Device("cuda", index, name, compute_type)
    if not torch.cuda.is_available():  # a torch without CUDA
        return Device("cuda", index, name, compute_type)
    free_bytes, total_bytes = torch.cuda.mem_get_info(index)
    return Device("cuda", index, f"{torch.cuda.get_device_name(index)} ({name})", compute_type, free_bytes, total_bytes)
