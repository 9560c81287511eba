"""Wait until a device is free of the workers of an earlier server."""

import asyncio
import logging
import time
from contextlib import suppress

from livecaption.ipc import locks

STALE_INTERVAL_S = 0.1

logger = logging.getLogger(__name__)


async def wait_for_device(device: str, stopping: asyncio.Event, *, kill_stale: bool, timeout_s: float) -> str | None:
    """Wait until no worker of an earlier server is on the device, or until `stopping` is set.

    Args:
        device: the device as named in the settings.
        stopping: set when the server stops and the device is not needed any more.
        kill_stale: whether such a worker is killed.
        timeout_s: time that such a worker gets to end.

    Returns:
        The reason why the device cannot be used, for the operator; None if it can be used.
    """
    give_up_s = time.monotonic() + timeout_s
    reported: set[int] = set()
    while stale := locks.stale_workers(device):
        for worker in stale:
            if worker.pid not in reported:
                reported.add(worker.pid)
                logger.warning("an earlier server's inference process (pid %d) is still there", worker.pid)
                if kill_stale and not locks.kill_stale(worker):
                    logger.error("pid %d is another process by now and is left alone", worker.pid)
        if time.monotonic() > give_up_s:
            pids = ", ".join(str(worker.pid) for worker in stale)
            return f"an earlier server's inference process still holds the device (pid {pids}): --kill-stale ends it"
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), STALE_INTERVAL_S)
            break
    return None
