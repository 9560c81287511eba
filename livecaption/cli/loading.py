"""Load the model of the settings in an inference process, as the server does, to learn whether that works."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from livecaption.config import Config
from livecaption.errors import EngineUnusable

if TYPE_CHECKING:
    from livecaption.recognition import ModelDescription


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that was loaded.

    Attributes:
        description: its own description.
        duration_s: the time from the start of its process.
    """

    description: "ModelDescription"
    duration_s: float


async def load(config: Config) -> LoadedModel:
    """Load the model in one process for each device, and end the processes.

    Raises:
        EngineUnusable: it cannot be loaded; the message has the reason.
        ConfigError: there is no such device.
    """
    from livecaption.scheduling.config import SchedulerConfig
    from livecaption.workers.pool import PoolState, WorkerPool

    workers = replace(config.workers, per_device=1)
    engine = replace(config.engine, calibrates=False)
    pool = WorkerPool(engine, workers, SchedulerConfig(), config.partials, hold_s=0.0)
    began_s = time.monotonic()
    pool.start()
    try:
        if await pool.wait_until_loaded() is not PoolState.READY or pool.loaded is None:
            raise EngineUnusable(pool.failure or "the inference process ended")
        return LoadedModel(pool.loaded, time.monotonic() - began_s)
    finally:
        await pool.stop()
