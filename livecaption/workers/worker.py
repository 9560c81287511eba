"""One inference process, seen from the server: its messages, its batches, and when it counts as hung.

End-of-file on the pipe shows that it died. The deadline of its batch and its heartbeat show that it hangs. All of this
runs in the event loop.
"""

import asyncio
import errno
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.ipc import children, lifeline
from livecaption.ipc.bridge import PipeBridge
from livecaption.ipc.config import EngineConfig, StaleConfig
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
from livecaption.recognition import DeviceMemory, Window
from livecaption.scheduling.instructions import BatchId, WorkerId
from livecaption.workers import spawning
from livecaption.workers.config import WorkerConfig
from livecaption.workers.deadlines import SERVER_MARGIN_S, BatchDeadlines
from livecaption.workers.lifecycle import WorkerEvent, WorkerState, next_state

logger = logging.getLogger(__name__)
_worker_ids = itertools.count(1)

Answer = Transcribed | BatchFailed


@dataclass(frozen=True, slots=True)
class WorkerListener:
    """The callbacks of a worker, called in the event loop."""

    on_ready: Callable[["Worker", Loaded], None]
    on_answer: Callable[["Worker", Answer], None]
    on_lost: Callable[["Worker"], None]
    """Called at once, also when the server kills the worker. From then on nothing is sent to it or received from it."""


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
        self.calibrates = engine.calibrates
        self.was_ready = False
        self.served_s = 0.0
        """Time from the loaded model to the end of the process."""
        self.n_answered = 0
        """Number of batches that it transcribed."""
        self.load_failure: LoadFailed | None = None
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
        stale = StaleConfig(config.kill_stale, config.stale_timeout_s)
        self.process, connection = spawning.spawn(engine, config.load_timeout_s, stale)
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
            self.load_failure = message
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
        self._listener.on_ready(self, message)

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
