"""A server without sockets, with one scripted worker and an optional batch. Tests kill it, or let it end badly.

    python worker_parent.py MODEL PROMPT END

It logs to stderr as the server does ("worker 1 started (pid 123)", "worker 1 is ready"). On SIGUSR2 it does END, one of
`ENDS`. Its worker imports this module too, so nothing heavy is imported above `main`.
"""

import asyncio
import os
import signal
import sys
from typing import Any


async def serve(model: str, prompt: str, end: str) -> None:
    import numpy as np

    from livecaption.ipc.config import EngineConfig
    from livecaption.recognition import RequestId, SessionId, TranscriptionOptions, Window
    from livecaption.scheduling.config import SchedulerConfig
    from livecaption.scheduling.partial_timer import PartialsConfig
    from livecaption.scheduling.request import Request
    from livecaption.workers.config import WorkerConfig
    from livecaption.workers.pool import WorkerPool

    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, asked.set)
    # The shortest deadline is 1.2 s, for tests in which it must be exceeded.
    engine = EngineConfig(engine="scripted", model=model)
    pool = WorkerPool(engine, WorkerConfig(batch_timeout_s=1.0), SchedulerConfig(), PartialsConfig(), hold_s=0.0)
    pool.start()
    if prompt:
        window = Window(np.zeros(1600, np.float32), TranscriptionOptions(prompt=f"script: {prompt}"))
        pool.submit(Request(RequestId(1), SessionId("a"), 0, 0.0, window))
    await asked.wait()
    await ENDS[end](pool)


async def stop(pool: Any) -> None:
    await pool.stop()


async def leave(_: Any) -> None:
    """End without stopping anything."""


async def leave_with_status(_: Any) -> None:
    sys.exit(5)


async def fail(_: Any) -> None:
    raise RuntimeError("as expected")


async def exit_at_once(_: Any) -> None:
    os._exit(0)


async def crash(_: Any) -> None:
    import ctypes

    ctypes.string_at(0)


async def fork(_: Any) -> None:
    """Fork a child that has a copy of every descriptor, and go on."""
    if os.fork() == 0:
        signal.pause()
    print("forked", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


async def stop_what_cannot_be_killed(pool: Any) -> None:
    """Act as if the worker hung in a driver: it does not answer and does not end when it is killed."""
    from livecaption.ipc import children

    for pid in pool.pids:
        os.kill(pid, signal.SIGSTOP)
    children.kill = lambda _: None
    await pool.stop()


ENDS = {
    each.__name__: each
    for each in (stop, leave, leave_with_status, fail, exit_at_once, crash, fork, stop_what_cannot_be_killed)
}


def main() -> None:
    import faulthandler
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    faulthandler.enable()
    asyncio.run(serve(*sys.argv[1:]))


if __name__ == "__main__":
    main()
