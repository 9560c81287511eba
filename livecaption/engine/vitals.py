"""Keep the last figures of a device, so that a sign of life need not ask for them."""

import math
import time
from dataclasses import dataclass

from livecaption.engine.engine import Engine
from livecaption.recognition import DeviceMemory

VITALS_INTERVAL_S = 1.0


@dataclass(slots=True)
class Vitals:
    """Figures that are read after answers and that the heartbeat sends.

    The heartbeat must not ask a GPU itself, because the GPU may hang.
    """

    device_memory: DeviceMemory | None = None
    _read_s: float = -math.inf

    def read(self, engine: Engine) -> None:
        """Ask the device for its memory, unless that was within the last second: it takes the lock of the driver."""
        now_s = time.monotonic()
        if now_s - self._read_s >= VITALS_INTERVAL_S:
            self.device_memory, self._read_s = engine.device_memory(), now_s
