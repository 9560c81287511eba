"""Read the GPUs of this machine from NVIDIA's driver, by `libcuda` and without torch.

`libcuda` counts as CUDA does: `CUDA_VISIBLE_DEVICES` hides GPUs, and an instance of MIG is a GPU with its own memory.
Only processes that may hang use `Driver`, because a broken driver may hang. The server's process never does. It looks
at the device files instead.
"""

import ctypes
import os
import sys
import uuid
from dataclasses import dataclass
from glob import glob
from typing import Any

from livecaption.recognition import DeviceMemory

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

# Numbers of CUDA's header cuda.h.
_NO_DEVICE = 100
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_RELEASE_THRESHOLD = 4
_MAX_NAME_BYTES = 256
_UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or an instance of MIG.

    Attributes:
        index: number in CUDA's order, which is that of the PCI bus, as in nvidia-smi.
        name: such as `NVIDIA H200`.
        uuid: such as `GPU-1b2c...`; the same in every process, also where other GPUs are hidden.
        capability: compute capability, such as (9, 0).
    """

    index: int
    name: str
    uuid: str
    capability: tuple[int, int]


class DriverNotFound(OSError):
    """There is no library of a driver that this process can open."""


def device_files(directory: str = "/dev") -> list[str]:
    """Return the files of the GPUs, one for each, such as `/dev/nvidia0`. WSL2 has none."""
    return sorted(glob(f"{directory}/nvidia[0-9]*"))


class Driver:
    """NVIDIA's driver. To open it makes no context, and takes no memory of a GPU.

    Attributes:
        version: the newest CUDA that it supports: 12040 is 12.4.
        gpus: all GPUs that are not hidden, in order.

    Raises:
        DriverNotFound: there is no driver.
        OSError: it does not work.
    """

    def __init__(self) -> None:
        # Otherwise CUDA counts the fastest GPU first. CTranslate2 reads the variable too, when it first looks for GPUs.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise DriverNotFound(*error.args) from None
        self._contexts: dict[int, ctypes.c_void_p] = {}
        version, n_gpus = ctypes.c_int(), ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        self.version = version.value
        if self._call("cuInit", 0, allowed=_NO_DEVICE) != _NO_DEVICE:
            self._call("cuDeviceGetCount", ctypes.byref(n_gpus))
        self.gpus = tuple(map(self._read, range(n_gpus.value)))

    def memory(self, gpu: Gpu) -> DeviceMemory:
        """Return how much of the GPU's memory all programs use now.

        The first call makes the context of the device, which CTranslate2 shares.

        Raises:
            OSError: the GPU does not answer.
        """
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        if gpu.index not in self._contexts:
            context = ctypes.c_void_p()
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device(gpu.index))
            self._contexts[gpu.index] = context
        self._call("cuCtxPushCurrent_v2", self._contexts[gpu.index])
        try:
            self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        return DeviceMemory(total.value - free.value, total.value)

    def keep_memory(self, gpu: Gpu) -> None:
        """Make the pool of this process keep what it frees, instead of giving it back at each step of a decoder.

        Raises:
            OSError: the GPU has no pool, as in some virtual machines.
        """
        pool, unlimited = ctypes.c_void_p(), ctypes.c_uint64(2**64 - 1)
        self._call("cuDeviceGetDefaultMemPool", ctypes.byref(pool), self._device(gpu.index))
        self._call("cuMemPoolSetAttribute", pool, _RELEASE_THRESHOLD, ctypes.byref(unlimited))

    def _read(self, index: int) -> Gpu:
        device = self._device(index)
        name = ctypes.create_string_buffer(_MAX_NAME_BYTES)
        own_uuid = ctypes.create_string_buffer(_UUID_BYTES)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetName", name, _MAX_NAME_BYTES, device)
        # The first version returns the UUID of the whole GPU for an instance of MIG. Drivers before 470 have only that.
        has_second = hasattr(self._library, "cuDeviceGetUuid_v2")
        self._call("cuDeviceGetUuid_v2" if has_second else "cuDeviceGetUuid", own_uuid, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
        return Gpu(
            index,
            name.value.decode(errors="replace"),
            f"GPU-{uuid.UUID(bytes=own_uuid.raw)}",
            (major.value, minor.value),
        )

    def _device(self, index: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), index)
        return device

    def _call(self, function: str, *arguments: Any, allowed: int = 0) -> int:
        """Call a function of the library, and return its result: 0 or the allowed one."""
        try:
            result: int = getattr(self._library, function)(*arguments)
        except AttributeError:
            raise OSError(f"{LIBRARY} has no {function}") from None
        if result not in (0, allowed):
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(result, ctypes.byref(text))
            raise OSError(f"{function}: {(text.value or b'unknown error').decode(errors='replace')} ({result})")
        return result
