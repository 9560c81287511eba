"""Find the GPUs that CTranslate2 can use, and load the libraries that it needs there.

The facts about CTranslate2's wheel are those of 4.8.5, taken apart: docs/decisions/0052-what-a-gpu-needs.md.
"""

import ctypes
import importlib.util
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from livecaption.errors import EngineUnusable
from livecaption.ipc.gpus import Driver, DriverNotFound, Gpu, device_files

OLDEST_CAPABILITY = (5, 3)
"""The first compute capability that the wheel has machine code for."""
COMPILED_CAPABILITY = (9, 0)
"""The first one without machine code (Hopper). From here on the driver compiles the wheel's intermediate code, PTX."""
OLDEST_DRIVER, OLDEST_DRIVER_NAME = 12000, "525"
COMPILING_DRIVER, COMPILING_DRIVER_NAME = 12080, "570"
"""The CUDA of the first driver that can compile it, and the number of that driver. Older ones fail silently:
CTranslate2 does not ask whether its kernels ran, and returns empty texts."""

CUBLAS = "libcublas.so.12"
_LIBRARIES = ("libcublasLt.so.12", CUBLAS)  # the second needs the first

logger = logging.getLogger(__name__)


def find_driver() -> tuple[Driver | None, str]:
    """Return the driver if CTranslate2 can use it, and it has GPUs; otherwise None and what is wrong.

    The text is empty if nothing is wrong: this machine has no GPU.
    """
    devices = device_files()
    try:
        driver = Driver()
    except DriverNotFound as error:
        return None, f"NVIDIA's driver cannot be loaded: {error}" if devices else ""
    except OSError as error:
        return None, f"NVIDIA's driver does not work: {error}"
    if driver.version < OLDEST_DRIVER:
        return None, f"NVIDIA's driver is too old: driver {OLDEST_DRIVER_NAME} or later is needed"
    if not driver.gpus:
        hidden = "CUDA_VISIBLE_DEVICES" in os.environ
        return None, f"NVIDIA's driver finds no GPU, in spite of {devices[0]}" if devices and not hidden else ""
    return driver, ""


def check_support(gpu: Gpu, driver: Driver) -> None:
    """Check that CTranslate2's code runs on this GPU.

    Raises:
        EngineUnusable: it does not; the message has the way out.
    """
    name = f"{gpu.name} (cuda:{gpu.index})"
    if gpu.capability < OLDEST_CAPABILITY:
        raise EngineUnusable(
            f"{name} is too old: CTranslate2 needs compute capability 5.3, and it has "
            f"{gpu.capability[0]}.{gpu.capability[1]}. Use another GPU, or --device cpu"
        )
    if gpu.capability >= COMPILED_CAPABILITY and driver.version < COMPILING_DRIVER:
        raise EngineUnusable(
            f"{name} needs NVIDIA's driver {COMPILING_DRIVER_NAME} or later (CUDA 12.8); the driver here supports CUDA "
            f"{driver.version // 1000}.{driver.version % 1000 // 10}. Update it, or use --device cpu"
        )


def prepare(gpu: Gpu, driver: Driver) -> None:
    """Make this process ready to compute on a GPU.

    Raises:
        EngineUnusable: cuBLAS is missing; the message has the way out.
    """
    load_libraries()
    if cache := os.environ.get("CUDA_CACHE_PATH"):
        # It is not documented whether the driver makes it. Without it, kernels are compiled at each start.
        with suppress(OSError):
            os.makedirs(cache, exist_ok=True)
    try:
        driver.keep_memory(gpu)
    except OSError as error:  # slower, not wrong
        logger.info("freed memory of the GPU is not kept: %s", error)


def load_libraries() -> None:
    """Load cuBLAS, so that CTranslate2 finds it by its name. Idempotent.

    The libraries of the package `nvidia-cublas-cu12` are loaded by path, because the loader does not search there, and
    ignores changes of LD_LIBRARY_PATH after the start of a process. Without that package it may find a library of the
    system.

    Raises:
        EngineUnusable: there is no cuBLAS 12.
    """
    if sys.platform != "linux":
        return
    try:
        directory = _packaged()
        for library in _LIBRARIES if directory else (CUBLAS,):
            ctypes.CDLL(str(directory / library) if directory else library)
    except OSError as error:
        raise EngineUnusable(
            f"cuBLAS 12 is not installed ({error}): run pip install 'livecaption-server[gpu]', or use --device cpu"
        ) from None


def _packaged() -> Path | None:
    """Return the directory of an installed package that has cuBLAS, without importing it; None: there is none."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        directory = Path(folder) / "cublas" / "lib"
        if (directory / CUBLAS).is_file():
            return directory
    return None
