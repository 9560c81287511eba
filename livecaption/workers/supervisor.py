"""The supervisor keeps one worker alive, process after process.

`Supervisor.run` reads from top to bottom: wait for the device, start a worker, watch it until it is lost, log why,
wait, and repeat. End-of-file on the pipe shows that a worker died. The deadline of its batch and its heartbeat show
that it hangs. All of this runs in the event loop.
"""

import asyncio
import errno
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.ipc import children, lifeline
from livecaption.ipc.bridge import PipeBridge
from livecaption.ipc.config import EngineConfig
from livecaption.ipc.messages import (
    BatchFailed,
    DumpStacks,
    GarbledMessage,
    Heartbeat,
    Loaded,
    LoadFailed,
    Message,
    ModelFound,
    Stop,
    Transcribe,
    Transcribed,
)
from livecaption.recognition import DeviceMemory, ModelDescription, Window
from livecaption.scheduling.scheduler import BatchId, WorkerId
from livecaption.workers import spawning
from livecaption.workers.config import WorkerConfig
from livecaption.workers.deadlines import SERVER_MARGIN_S, BatchDeadlines
from livecaption.workers.device import wait_for_device
from livecaption.workers.lifecycle import PoolState, WorkerEvent, WorkerState, next_state
from livecaption.workers.restart import RestartPolicy

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""Errors of a shortage of descriptors, processes or memory. It passes soon, so the failed start does not count."""

logger = logging.getLogger(__name__)
_worker_ids = itertools.count(1)

Answer = Transcribed | BatchFailed


@dataclass(frozen=True, slots=True)
class WorkerListener:
    """The callbacks of a supervisor, called in the event loop."""

    on_ready: Callable[["Worker", ModelDescription], None]
    on_answer: Callable[["Worker", Answer], None]
    on_lost: Callable[["Worker"], None]
    """Called at once, also when the server kills the worker. From then on nothing is sent to it or received from it."""
    on_state: Callable[["Supervisor"], None]
    """Called when `state` or `failure` may have changed without another callback."""


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


@dataclass(frozen=True, slots=True)
class _SentBatch:
    """A batch that was sent to the worker and is not answered yet."""

    batch: BatchId
    n_windows: int
    audio_s: float
    deadline_s: float

    def fits(self, answer: Answer) -> bool:
        n_answers = len(answer.hypotheses) if isinstance(answer, Transcribed) else self.n_windows
        return answer.batch == self.batch and n_answers == self.n_windows


class Worker:
    """One inference process, seen from the server. It is never restarted; the supervisor makes a new `Worker`.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self, engine: EngineConfig, config: WorkerConfig, deadlines: BatchDeadlines, listener: WorkerListener
    ) -> None:
        self.state = WorkerState.STARTING
        self.was_ready = False
        self.served_s = 0.0
        """Time from the loaded model to the end of the process."""
        self.n_answered = 0
        """Number of batches that it transcribed."""
        self.load_failure: str | None = None
        self.device_memory: DeviceMemory | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the state is DEAD."""
        self._config = config
        self._deadlines = deadlines
        self._listener = listener
        self._model_found = False
        self._reason: str | None = None
        self._batches: deque[_SentBatch] = deque()
        self._last_message_s = self._began_s = self._ready_s = time.monotonic()
        self.process, connection = spawning.spawn(engine, config.load_timeout_s)
        self.id = WorkerId(next(_worker_ids))
        self.pid = self.process.pid
        try:
            self._bridge = PipeBridge(connection, self._receive, self._close)
        except RuntimeError as error:  # no thread is left
            children.kill(self.process)
            connection.close()
            spawning.reap(self.process, config.kill_timeout_s)
            raise OSError(errno.EAGAIN, str(error)) from None

    def transcribe(self, batch: BatchId, windows: Sequence[Window]) -> None:
        """Send a batch. The listener gets its answer, or the loss of the worker."""
        audio_s = sum(window.n_encoder_samples for window in windows) / SAMPLE_RATE_HZ
        deadline_s = self._deadlines.deadline_s(audio_s)
        if not self._batches:
            self._began_s = time.monotonic()
        self._batches.append(_SentBatch(batch, len(windows), audio_s, deadline_s))
        self._transition(WorkerEvent.BATCH_SENT)
        self._bridge.send(Transcribe(batch, deadline_s, tuple(windows)))

    def dump_stacks(self) -> None:
        """Make the process write the stacks of its threads to stderr."""
        self._bridge.send(DumpStacks())

    def ask_stop(self) -> None:
        """Ask the worker to answer its current batch and end. A worker that still loads is killed instead."""
        if self.state is WorkerState.STARTING:
            self.kill("the server stops while it loads")
        if self.state is not WorkerState.DEAD:
            self._transition(WorkerEvent.STOP_ASKED)
            self._bridge.send(Stop())

    def kill(self, reason: str) -> None:
        """Send SIGKILL. The worker is lost at once; `spawning.reap` waits for the end of its process."""
        if self.state is not WorkerState.DEAD:
            self._reason = reason
            children.kill(self.process)
            self._lose()

    def hung(self, now_s: float) -> str | None:
        """Return the reason why this worker counts as hung, or None."""
        computing_s = now_s - self._began_s
        if self.state is WorkerState.STARTING:
            # A download has no deadline as long as the worker sends heartbeats.
            loading_s = computing_s if self._model_found else now_s - self._last_message_s
            return self._load_overdue if loading_s > self._config.load_timeout_s + SERVER_MARGIN_S else None
        if self._batches and computing_s > self._batches[0].deadline_s + SERVER_MARGIN_S:
            return f"a batch took longer than {self._batches[0].deadline_s:g} s"
        if now_s - self._last_message_s > self._config.heartbeat_timeout_s:
            return f"it sent nothing for {self._config.heartbeat_timeout_s:g} s"
        return None

    def forgive_silence(self, now_s: float) -> None:
        """Restart the worker's deadlines, because the server itself was stopped or starved."""
        self._last_message_s = self._began_s = now_s

    def resident_bytes(self) -> int | None:
        """Read the resident memory of the process (RSS); None if it has ended."""
        if self.state is WorkerState.DEAD or self.pid is None:
            return None
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return None

    def describe_end(self, exit_code: int | None) -> str:
        """Describe the end of the worker, as a predicate to follow 'worker 3'."""
        reason = self._reason
        loading = self._model_found and not self.was_ready and self.load_failure is None
        if reason is None and loading and exit_code == lifeline.EXIT_DEAD_MAN:
            # The time since `ModelFound` does not show it, because a busy server reads that message late.
            reason = self._load_overdue
        if reason is not None and exit_code is not None:
            return f"was killed: {reason}"
        return children.describe_exit(exit_code) + ("" if self.was_ready else " while loading the model")

    @property
    def healthy(self) -> bool:
        """True if the worker did useful work; known once it is lost."""
        return self._config.restart.is_healthy(self.served_s, self.n_answered)

    @property
    def _load_overdue(self) -> str:
        return f"the model was not loaded within {self._config.load_timeout_s:g} s (--load-timeout)"

    def _receive(self, message: Message) -> None:
        if self.state is WorkerState.DEAD:
            return
        self._last_message_s = time.monotonic()
        if isinstance(message, ModelFound):
            self._model_found = True
            self._began_s = self._last_message_s
        elif isinstance(message, Loaded):
            self._receive_loaded(message)
        elif isinstance(message, LoadFailed):
            self.load_failure = message.message
        elif isinstance(message, Transcribed | BatchFailed):
            self._receive_answer(message)
        elif isinstance(message, Heartbeat):
            self.device_memory = message.device_memory

    def _receive_loaded(self, message: Loaded) -> None:
        if self.state is not WorkerState.STARTING:
            self.kill("it reported twice that its model is loaded")
            return
        self._transition(WorkerEvent.LOADED)
        self.was_ready = True
        self._ready_s = self._last_message_s
        self._listener.on_ready(self, message.description)

    def _receive_answer(self, answer: Answer) -> None:
        if not self._batches or not self._batches[0].fits(answer):
            self.kill("its answer does not match the batch that it was sent")
            return
        sent = self._batches.popleft()
        self._began_s = self._last_message_s
        if isinstance(answer, Transcribed):
            self.n_answered += 1
            self._deadlines.learn(sent.audio_s, answer.compute_s)
            logger.debug("worker %d: %.1f s of audio took %.2f s", self.id, sent.audio_s, answer.compute_s)
        if not self._batches:
            self._transition(WorkerEvent.ALL_ANSWERED)
        self._listener.on_answer(self, answer)

    def _close(self, garbled: GarbledMessage | None) -> None:
        if garbled is not None:
            self.kill(garbled.message)
        elif self.state is not WorkerState.DEAD:
            # A worker without a pipe is useless, even if its process still runs.
            children.kill(self.process)
            self._lose()

    def _lose(self) -> None:
        self._transition(WorkerEvent.LOST)
        self.served_s = time.monotonic() - self._ready_s if self.was_ready else 0.0
        self.lost.set_result(None)
        self._listener.on_lost(self)

    def _transition(self, event: WorkerEvent) -> None:
        self.state = next_state(self.state, event)


class Supervisor:
    """Keeps one worker alive until `stop` is called, or until it is clear that no worker can ever start."""

    def __init__(self, engine: EngineConfig, config: WorkerConfig, listener: WorkerListener) -> None:
        self._engine = engine
        self._config = config
        self._listener = listener
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
        self.failure = await wait_for_device(
            self._engine.device, self._stopping, kill_stale=config.kill_stale, timeout_s=config.stale_timeout_s
        )
        short = False
        while not self._stopping.is_set() and self.failure is None:
            healthy = False
            try:
                worker = self._worker = Worker(self._engine, config, self._deadlines, self._listener)
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
                end = await self._live(worker)
                healthy = worker.healthy
            if self._stopping.is_set():
                logger.info("%s", end)
            elif self.failure is None:
                restart = self._policy.next_restart(time.monotonic(), healthy=healthy, random=random.random())
                self._breaker_open = restart.breaker_open
                self._worker = None
                if self._breaker_open and not self._was_ready:
                    self.failure = end
                    break
                logger.error("%s; the next one starts in %.1f s", end, restart.delay_s)
                self._listener.on_state(self)
                await self._pause(restart.delay_s)
        self._listener.on_state(self)

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

    async def _live(self, worker: Worker) -> str:
        """Watch one worker until its process has ended, and describe the end. Set `failure` if no other may start."""
        self._n_workers += 1
        logger.info("worker %d started (pid %s)", worker.id, worker.pid)
        await self._watch(worker)
        # Wait in a thread: the wait is bounded, and the thread starts no process.
        exit_code = await asyncio.to_thread(spawning.reap, worker.process, self._config.kill_timeout_s)
        self._was_ready = self._was_ready or worker.was_ready
        cause = worker.describe_end(exit_code)
        if exit_code is None:
            # Its device is still in use, and a second process would hang there like the first.
            self.failure = f"the inference process (pid {worker.pid}) {cause}"
        elif not self._was_ready:
            # No worker was ready yet. A missing model or device is likely, and a second start does not help.
            self.failure = worker.load_failure or f"the inference process {cause}"
        return f"worker {worker.id} {cause}" + (f": {worker.load_failure}" if worker.load_failure else "")

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
