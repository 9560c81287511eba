"""The settings of the inference processes: their number and their deadlines."""

from dataclasses import dataclass, field

from livecaption.workers.restart import RestartConfig


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The number of inference processes, and the deadlines of their supervision.

    Attributes:
        per_device: processes on each device. 0: as many as suit it (see `layout`).
        load_timeout_s: time to load the model. A large model from a cold disk takes tens of seconds. The time of a
            download does not count.
        heartbeat_timeout_s: a worker that sends nothing for this time is stopped, starved or stuck, and is killed.
        batch_timeout_s: time that any batch may take; longer audio gets more (see `deadlines`).
        stop_timeout_s: time that a worker may take to stop after it was asked to.
        kill_timeout_s: time for a worker to end after SIGKILL. One that takes longer hangs in a driver, and its device
            stays reserved.
        kill_stale: end an earlier server's inference process that is still on the device.
        stale_timeout_s: time that such a process gets to end. Every layer of an idle worker's lifeline is faster.
        watch_interval_s: time between two looks at a worker. A longer one finds hung workers later.
        shortage_interval_s: time between two starts while descriptors, processes or memory are short.
        restart: the restarts of workers that died.
    """

    per_device: int = 0
    load_timeout_s: float = 120.0
    heartbeat_timeout_s: float = 5.0
    batch_timeout_s: float = 10.0
    stop_timeout_s: float = 1.0
    kill_timeout_s: float = 2.0
    kill_stale: bool = False
    stale_timeout_s: float = 5.0
    watch_interval_s: float = 0.25
    shortage_interval_s: float = 1.0
    restart: RestartConfig = field(default_factory=RestartConfig)
