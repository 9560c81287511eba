"""How many inference processes there are, and how patient the server is with them."""

import os
from dataclasses import dataclass, replace
from glob import glob

from livecaption.ipc.config import EngineConfig


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How many inference processes there are, and the deadlines of their supervision.

    Attributes:
        per_device: processes on each device; 0: two where they compute on several cores of a CPU, else one. With
            tiny.en int8 on two cores a second thread takes 0.7 of the time to encode and 1.7 to decode (batches of 8),
            while two processes do not slow each other down.
        load_timeout_s: a model that is not ready by then is given up. A large model from a cold
            disk takes tens of seconds. A download is not counted.
        heartbeat_timeout_s: a worker silent for so long is stopped, starved or stuck: killed.
        batch_timeout_s: time that any batch may take; longer audio is given more (see `deadlines`).
        stop_timeout_s: how long a worker that was asked to stop may take.
        kill_stale: end an earlier server's inference process that is still on the device.
    """

    per_device: int = 0
    load_timeout_s: float = 120.0
    heartbeat_timeout_s: float = 5.0
    batch_timeout_s: float = 10.0
    stop_timeout_s: float = 1.0
    kill_stale: bool = False


def engine_of_each_worker(engine: EngineConfig, config: WorkerConfig) -> list[EngineConfig]:
    """What each process is to load: `per_device` on every device; processes on one CPU share its cores."""
    n_cores = os.cpu_count() or 1
    devices = [device.strip() for device in engine.device.split(",")]
    workers = []
    for device in devices:
        on_cpu = device == "cpu" or (device == "auto" and not glob("/dev/nvidia[0-9]*"))
        n_workers = config.per_device or (2 if engine.engine == "whisper" and on_cpu and n_cores > 1 else 1)
        threads = engine.threads or max(1, n_cores // n_workers)
        workers += [replace(engine, device=device, threads=threads)] * n_workers
    return workers
