"""Decide how many inference processes there are, on which devices, and with how many threads.

The server's process does not call CUDA, because a broken driver may hang. It counts the GPUs by their device files, and
believes its workers: if `auto` turns out to be the CPU in spite of a GPU, it starts the processes that a CPU gets.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from livecaption.errors import ConfigError
from livecaption.ipc.config import EngineConfig, gpus_by_ray
from livecaption.ipc.gpus import device_files
from livecaption.workers.config import WorkerConfig

ALL_GPUS = "cuda:all"
PROCESSES_ON_CPU = 2
"""Processes on a CPU with several cores. A second thread changes the time to encode by a factor of 0.7, and the time to
decode by 1.7 (tiny.en int8 on two cores, batches of 8). Two processes do not slow each other down."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The settings of each inference process.

    Attributes:
        engines: those of the processes that are started at once.
        more_on_cpu: those of further ones, for the case that `auto` finds no GPU that it can use.
        n_gpus: GPUs of this machine that CUDA shows.
    """

    engines: list[EngineConfig]
    more_on_cpu: list[EngineConfig]
    n_gpus: int = 0

    def __str__(self) -> str:
        """Return how many processes are started at once, on which devices, and how many GPUs there are."""
        on_devices = ", ".join(dict.fromkeys(each.device for each in self.engines))
        return f"inference processes: {len(self.engines)} ({on_devices}), GPUs: {self.n_gpus}"


def lay_out(engine: EngineConfig, config: WorkerConfig, n_cores: int, n_gpus: int) -> Layout:
    """Return the settings of each process. Processes on one CPU share its cores; one on a GPU needs a single thread.

    Args:
        engine, config: the settings of the server.
        n_cores: processors that it may use.
        n_gpus: GPUs that CUDA shows to it.

    Raises:
        ConfigError: all GPUs are asked for, and there is none; or the share of a GPU is wrong.
    """
    n_on_cpu = config.per_device or (PROCESSES_ON_CPU if engine.engine == "whisper" and n_cores > 1 else 1)
    threads = engine.threads or max(1, n_cores // n_on_cpu)
    engines, more_on_cpu = [], []
    for device in devices(engine.device, n_gpus):
        # `auto` has the threads for the CPU. A process that finds a GPU does not use them.
        on_gpu = device.startswith("cuda") or gpus_by_ray(device) is not None
        each = replace(engine, device=device, threads=1 if on_gpu else threads)
        n_at_once = (config.per_device or 1) if on_gpu or (device == "auto" and n_gpus) else n_on_cpu
        engines += [each] * n_at_once
        if device == "auto":
            more_on_cpu += [each] * (n_on_cpu - n_at_once)
    return Layout(engines, more_on_cpu, n_gpus)


def devices(names: str, n_gpus: int) -> list[str]:
    """Return the devices of `--device`, each by a name of its own.

    Raises:
        ConfigError: all GPUs are asked for, and there is none.
    """
    found = []
    for name in names.split(","):
        name = name.strip()
        if name == ALL_GPUS and not n_gpus:
            raise ConfigError(
                f"--device {ALL_GPUS}: there is no NVIDIA GPU here (no file /dev/nvidia0), or CUDA_VISIBLE_DEVICES "
                "hides it; check the driver, or use cpu"
            )
        found += [f"cuda:{index}" for index in range(n_gpus)] if name == ALL_GPUS else [name]
    return found


def count_gpus(environ: Mapping[str, str] = os.environ, directory: str = "/dev") -> int:
    """Count the GPUs that CUDA shows to the processes, without calling it.

    `CUDA_VISIBLE_DEVICES` lists numbers or UUIDs, of which CUDA ignores those after the first that no GPU has, such as
    -1. Of instances (MIG) it shows a process only one.
    """
    n_files = len(device_files(directory))
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not n_files:
        return n_files
    entries = [entry.strip() for entry in visible.split(",")]
    n_listed = sum(1 for _ in takewhile(lambda entry: _may_be_gpu(entry, n_files), entries))
    return min(n_listed, 1) if entries[0].startswith("MIG-") else n_listed


def _may_be_gpu(entry: str, n_gpus: int) -> bool:
    """Return whether this may be one of so many GPUs. Their UUIDs are in the driver only."""
    return int(entry) < n_gpus if entry.isdecimal() else entry.startswith(("GPU-", "MIG-"))
