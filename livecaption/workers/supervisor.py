"""The supervisor keeps one worker alive, process after process.

`Supervisor.run` reads from top to bottom: start a worker, watch it until it is lost, log why, wait, and repeat. All of
this runs in the event loop.
"""

import asyncio
import errno
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from livecaption.ipc import children
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import DeviceMemory
from livecaption.workers import spawning
from livecaption.workers.config import WorkerConfig
from livecaption.workers.deadlines import BatchDeadlines
from livecaption.workers.lifecycle import PoolState, WorkerState
from livecaption.workers.restart import RestartPolicy
from livecaption.workers.worker import Worker, WorkerListener

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""Errors of a shortage of descriptors, processes or memory. It passes soon, so the failed start does not count."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One worker in figures.

    Attributes:
        n_restarts: processes after the first one.
        resident_bytes: memory of its process; None if no process runs.
        device_memory: memory of its device; None on a CPU, and if it cannot be read.
    """

    state: PoolState
    n_restarts: int
    resident_bytes: int | None
    device_memory: DeviceMemory | None


class Supervisor:
    """Keeps one worker alive until `stop` is called, or until it is clear that no worker can ever start.

    Args:
        engine, config: the settings of its processes.
        listener: called for each of them.
        on_state: called when `state` or `failure` may have changed without a call of the listener.
        is_first: returns True as long as no worker of the server has been ready.
    """

    def __init__(
        self,
        engine: EngineConfig,
        config: WorkerConfig,
        listener: WorkerListener,
        on_state: Callable[["Supervisor"], None],
        is_first: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._config = config
        self._listener = listener
        self._on_state = on_state
        self._is_first = is_first
        self._policy = RestartPolicy(config.restart)
        self._deadlines = BatchDeadlines(config.batch_timeout_s)
        self._worker: Worker | None = None
        self._n_workers = 0
        self._stopping = asyncio.Event()
        self._was_ready = False
        self._breaker_open = False
        self.failure: str | None = None
        """The reason why no worker will be started any more, for the operator."""

    @property
    def state(self) -> PoolState:
        """The service that this worker can give to streams now."""
        if self._worker is not None and self._worker.state in (WorkerState.READY, WorkerState.BUSY):
            return PoolState.READY
        if self.failure is not None:
            return PoolState.FAILED
        if self._breaker_open and not (self._worker is not None and self._worker.healthy):
            return PoolState.FAILED
        was_ready = self._was_ready or (self._worker is not None and self._worker.was_ready)
        return PoolState.RECOVERING if was_ready else PoolState.LOADING

    def figures(self) -> WorkerFigures:
        """Return the present figures. This calls the operating system."""
        worker = self._worker
        return WorkerFigures(
            state=self.state,
            n_restarts=max(0, self._n_workers - 1),
            resident_bytes=worker.resident_bytes() if worker is not None else None,
            device_memory=worker.device_memory if worker is not None else None,
        )

    async def run(self) -> None:
        """Start workers, one after the other. Returns after `stop`, or when `failure` is set."""
        config = self._config
        short = waited_for_memory = False
        while not self._stopping.is_set() and self.failure is None:
            healthy = memory_short = False
            try:
                calibrates = self._engine.calibrates and self._is_first()
                engine = replace(self._engine, calibrates=calibrates, is_replacement=self._was_ready)
                worker = self._worker = Worker(engine, config, self._deadlines, self._listener)
            except OSError as error:
                if error.errno in SHORTAGES:
                    if not short:
                        logger.error("a worker cannot be started now: %s; the server tries again each second", error)
                    short = True
                    await self._pause(config.shortage_interval_s)
                    continue
                end = f"a worker could not be started: {error}"
            else:
                short = False
                end, memory_short = await self._live(worker)
                healthy = worker.healthy
            if self._stopping.is_set():
                logger.info("%s", end)
            elif memory_short:
                if not waited_for_memory:
                    logger.error("%s; the server tries again after %.1f s each time", end, config.shortage_interval_s)
                await self._pause(config.shortage_interval_s)
            elif self.failure is None:
                restart = self._policy.next_restart(healthy=healthy, random=random.random())
                self._breaker_open = restart.breaker_open
                self._worker = None
                if self._breaker_open and not self._was_ready:
                    self.failure = end
                    break
                logger.error("%s; the next one starts in %.1f s", end, restart.delay_s)
                self._on_state(self)
                await self._pause(restart.delay_s)
            waited_for_memory = memory_short
        self._on_state(self)

    async def stop(self) -> None:
        """Ask the worker to end, and kill it after the time-out. Idempotent."""
        self._stopping.set()
        worker = self._worker
        if worker is None or worker.state is WorkerState.DEAD:
            return
        worker.ask_stop()
        await asyncio.wait({worker.lost}, timeout=self._config.stop_timeout_s)
        worker.kill(f"it did not stop within {self._config.stop_timeout_s:.1f} s")

    def kill_now(self) -> None:
        """Send SIGKILL from any thread, without waiting."""
        if self._worker is not None:
            children.kill(self._worker.process)

    def dump_stacks(self) -> None:
        """Make the worker write the stacks of its threads to stderr."""
        if self._worker is not None:
            self._worker.dump_stacks()

    async def _live(self, worker: Worker) -> tuple[str, bool]:
        """Watch one worker until its process has ended. Set `failure` if no other may start.

        Returns:
            A description of the end, and whether memory was short for its load, which is then tried again.
        """
        self._n_workers += 1
        logger.info("worker %d started (pid %s)", worker.id, worker.pid)
        await self._watch(worker)
        exit_code = await spawning.reaped(worker.process, self._config.kill_timeout_s)
        self._was_ready = self._was_ready or worker.was_ready
        cause, failed = worker.describe_end(exit_code), worker.load_failure
        short = failed is not None and failed.retry
        memory_short = self._policy.waits_for_memory(time.monotonic(), short=short)
        if exit_code is None:
            # Its device is still in use, and a second process would hang there like the first.
            self.failure = f"the inference process (pid {worker.pid}) {cause}"
        elif not self._was_ready and not memory_short:
            # No worker was ready yet. A missing model or device is likely, and a second start does not help.
            self.failure = failed.message if failed else f"the inference process {cause}"
        return f"worker {worker.id} {cause}" + (f": {failed.message}" if failed else ""), memory_short

    async def _watch(self, worker: Worker) -> None:
        """Return when the worker is lost. Kill it if it hangs."""
        interval_s = self._config.watch_interval_s
        looked_s = time.monotonic()
        while not worker.lost.done():
            await asyncio.wait({worker.lost}, timeout=interval_s)
            now_s = time.monotonic()
            if now_s - looked_s > interval_s + 1.0:
                worker.forgive_silence(now_s)
            looked_s = now_s
            reason = worker.hung(now_s)
            if reason is not None:
                worker.kill(reason)

    async def _pause(self, delay_s: float) -> None:
        if delay_s:
            waiter = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait({waiter}, timeout=delay_s)
            waiter.cancel()
