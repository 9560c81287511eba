"""The pool joins all workers to the scheduler: it takes requests and returns answers.

It is the shell around the pure `Scheduler` and executes its instructions. Only the event loop's thread uses it.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from livecaption.errors import EngineError, TranscriptionFailed, WorkerDied
from livecaption.ipc.config import EngineConfig
from livecaption.ipc.messages import BatchFailed, Loaded
from livecaption.recognition import Hypothesis, ModelDescription, RequestId, SessionId, logged_id
from livecaption.scheduling.admission import Demand, Load
from livecaption.scheduling.config import SchedulerConfig
from livecaption.scheduling.instructions import BatchId, Dispatch, Drop, Instruction, QueueFigures, WorkerId
from livecaption.scheduling.load_control import LoadController, LoadFigures, ServiceLevel
from livecaption.scheduling.memory_limit import MemoryLimit
from livecaption.scheduling.partial_timer import PartialsConfig
from livecaption.scheduling.request import Cancel, Request
from livecaption.scheduling.scheduler import Scheduler
from livecaption.workers.config import WorkerConfig
from livecaption.workers.counts import WorkCounts
from livecaption.workers.layout import count_gpus, lay_out
from livecaption.workers.lifecycle import PoolState as PoolState
from livecaption.workers.lifecycle import best_state
from livecaption.workers.memory import free_bytes
from livecaption.workers.processors import n_processors
from livecaption.workers.quarantine import Quarantine
from livecaption.workers.supervisor import Supervisor, WorkerFigures
from livecaption.workers.worker import Answer, Worker, WorkerListener

logger = logging.getLogger(__name__)

OnAnswer = Callable[[Request, Hypothesis | EngineError], None]
Refresh = Callable[[Request, float], Request]
"""Takes a partial and the monotonic time, and returns the same partial with newer audio."""


class WorkerPool:
    """Answers requests on inference processes: `per_device` of them on each device that `engine` names.

    Args:
        hold_s: time that requests wait for a worker when workers die again and again without useful work.
    """

    def __init__(
        self,
        engine: EngineConfig,
        config: WorkerConfig,
        scheduling: SchedulerConfig,
        partials: PartialsConfig,
        *,
        hold_s: float,
    ) -> None:
        self.state = PoolState.LOADING
        self.given_up = False
        """True if requests no longer wait for a worker: none can ever start, or none became ready within `hold_s`."""
        self.loaded: ModelDescription | None = None
        """The model of the workers; None until one has been ready."""
        self.counts = WorkCounts()
        self._scheduler = Scheduler(scheduling, self._refresh_partial)
        self._load_controller = LoadController(partials.interval_ms, scheduling.max_batch)
        self._memory_limit = MemoryLimit(scheduling.max_batch)
        self._demand = Demand()
        self._quarantine = Quarantine()
        listener = WorkerListener(self._on_ready, self._on_answer, self._on_lost)
        self._layout = lay_out(engine, config, n_processors(), count_gpus())
        self._supervise = partial(
            Supervisor, config=config, listener=listener, on_state=self._on_state, is_first=lambda: self.loaded is None
        )
        self._supervisors = [self._supervise(each) for each in self._layout.engines]
        self._ready: dict[WorkerId, Worker] = {}
        self._sessions: dict[SessionId, tuple[OnAnswer, Refresh]] = {}
        self._recordings: set[SessionId] = set()
        self._request_ids = itertools.count(1)
        self._limit_batches()
        self._hold_s = hold_s
        self._failed_since_s: float | None = None
        """The time at which the state became FAILED. A worker that dies again without useful work does not reset it."""
        self._giving_up: asyncio.TimerHandle | None = None
        self._loaded_or_not = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def failure(self) -> str | None:
        """The reason why no worker will be started any more, for the operator; None while one may start."""
        reasons = [supervisor.failure for supervisor in self._supervisors if supervisor.failure is not None]
        return "; ".join(dict.fromkeys(reasons)) if len(reasons) == len(self._supervisors) else None

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are ready."""
        return [worker.pid for worker in self._ready.values() if worker.pid is not None]

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        """The tasks that supervise the workers. An exception in one of them is a bug of livecaption."""
        return list(self._tasks)

    @property
    def queue(self) -> QueueFigures:
        """Figures of the requests that wait or are in flight."""
        return self._scheduler.figures

    @property
    def load_figures(self) -> LoadFigures:
        """Figures of the load control: service level and measured times."""
        self.service_level()
        return self._load_controller.figures(time.monotonic(), len(self._ready))

    @property
    def load(self) -> Load:
        """Read the load by which admission decides about one more stream. This calls the operating system."""
        now_s = time.monotonic()
        oldest_asked_s = self._scheduler.oldest_final_asked_s
        return Load(
            costs=self._load_controller.request_costs(self._demand.finals_per_partial(now_s)),
            utterances_per_s=self._demand.utterances_per_s(now_s),
            speaking=self._demand.speaking(now_s),
            n_workers=len(self._ready),
            oldest_final_s=now_s - oldest_asked_s if oldest_asked_s is not None else 0.0,
            partials_paused=self.service_level().partial_interval_ms is None,
            free_bytes=free_bytes(),
        )

    def service_level(self) -> ServiceLevel:
        """Return the present service level. This is cheap enough to be called for every chunk of audio."""
        control, had_time = self._load_controller, self._load_controller.leaves_time
        level = control.service_level(time.monotonic(), len(self._ready), self._scheduler.n_finals_waiting)
        if control.leaves_time and not had_time:
            # Translations have waited for that. Not at once: the scheduler may be making a batch, and refreshing it.
            asyncio.get_running_loop().call_soon(self._limit_batches)
        return level

    def workers(self) -> list[WorkerFigures]:
        """Return the figures of each configured worker, alive or not. This calls the operating system."""
        return [supervisor.figures() for supervisor in self._supervisors]

    def start(self) -> None:
        """Start the processes and return at once. Call it in the event loop's own thread."""
        logger.info("%s", self._layout)
        self._tasks = [asyncio.ensure_future(supervisor.run()) for supervisor in self._supervisors]
        self._tasks.append(asyncio.ensure_future(self._run_more_on_cpu()))

    async def wait_until_loaded(self) -> PoolState:
        """Wait until the state is not `LOADING`, and return it."""
        await self._loaded_or_not.wait()
        return self.state

    async def stop(self) -> None:
        """End all workers, by force after the stop time-out. Open requests are answered as failed. Idempotent."""
        self._set_state(PoolState.STOPPED)
        self._hold_no_longer()
        self._fail_all("the server stops")
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors))
        await asyncio.gather(*self._tasks, return_exceptions=True)  # the caller handles exceptions of `tasks`

    def kill_now(self) -> None:
        """Send SIGKILL to all workers without waiting, for a stop that has no time left."""
        for supervisor in self._supervisors:
            supervisor.kill_now()

    def dump_stacks(self) -> None:
        """Make every worker write the stacks of its threads to stderr."""
        for supervisor in self._supervisors:
            supervisor.dump_stacks()

    def next_request_id(self) -> RequestId:
        """Return an id that no other request has."""
        return RequestId(next(self._request_ids))

    def attach(
        self,
        session: SessionId,
        on_answer: OnAnswer,
        refresh: Refresh = lambda partial, _: partial,
        *,
        is_recording: bool = False,
    ) -> None:
        """Register a session.

        Args:
            session: the session whose requests follow.
            on_answer: called in the event loop with each answer to a request of this session.
            refresh: called before a partial is sent to a worker; it may return the partial with newer audio.
            is_recording: whether its requests, which are finals, wait behind those of all live streams.
        """
        if is_recording:
            self._recordings.add(session)
        elif session not in self._sessions:
            self._demand.add_stream(session, time.monotonic())
        self._sessions[session] = on_answer, refresh
        self._limit_batches()

    def detach(self, session: SessionId) -> None:
        """Remove a session that has ended. Its answers are dropped, and so is its waiting partial.

        The finals of a recording that wait are dropped too.
        """
        self._sessions.pop(session, None)
        self._recordings.discard(session)
        self._limit_batches()
        self._scheduler.forget(session)
        self._load_controller.remove_stream(session)
        self._demand.remove_stream(session, time.monotonic())

    def submit(self, request: Request) -> None:
        """Queue a request. The answer never arrives within this call.

        Each final is answered exactly once, unless it is cancelled. A partial is answered once, unless a newer partial
        or its final supersedes it.
        """
        self.counts.partials_asked += request.is_partial
        now_s = time.monotonic()
        if request.session in self._recordings:
            request = replace(request, is_recorded=True)
        if not request.is_background:  # these take spare time only, so they are no load
            self._load_controller.record_request(request, now_s)
            self._demand.record_request(request, now_s)
        error: EngineError
        if self.given_up or self.state is PoolState.STOPPED:
            error = WorkerDied("no inference process is left", fatal=False)
        elif self._quarantine.holds(request.window, now_s):
            error = _quarantined()
        else:
            self._execute(self._scheduler.submit(request))
            return
        self._answer_soon(request, error)

    def cancel(self, cancel: Cancel) -> None:
        """Cancel requests that are no longer needed. Those that no worker has yet get no answer."""
        self._execute(self._scheduler.cancel(cancel.session, cancel.utterance))

    def drop_partials(self) -> None:
        """Drop all waiting partials, because only finals matter while the server drains."""
        self._scheduler.drop_partials()

    async def _run_more_on_cpu(self) -> None:
        """Run the further processes of a CPU if `auto` is the CPU, though there is a GPU."""
        state = await self.wait_until_loaded()
        if state is PoolState.READY and self.loaded is not None and self.loaded.device == "cpu":
            further = [self._supervise(each) for each in self._layout.more_on_cpu]
            self._supervisors += further
            await asyncio.gather(*(supervisor.run() for supervisor in further))

    def _execute(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Dispatch):
                windows = [request.window for request in instruction.requests]
                self._ready[instruction.worker].transcribe(instruction.batch, windows)
            elif isinstance(instruction, Drop):
                self._answer_soon(instruction.request, TranscriptionFailed("this final is not translated", fatal=False))
            else:
                logger.error(
                    "audio of session %s crashed two workers and is not sent again",
                    logged_id(instruction.request.session),
                )
                self._quarantine.add(instruction.request.window, time.monotonic())
                self._answer_soon(instruction.request, _quarantined())

    def _on_ready(self, worker: Worker, message: Loaded) -> None:
        is_first = self.loaded is None
        self.loaded = loaded = message.description
        if worker.calibrates or is_first:
            self._load_controller.calibrate(message.costs, message.n_streams)
        self._limit_batches()
        self._ready[worker.id] = worker
        model = f"{loaded.model}@{loaded.revision}" if loaded.revision else loaded.model
        logger.info("worker %d is ready: %s (%s) on %s", worker.id, model, loaded.compute_type, loaded.device)
        if is_first:
            for supervisor in self._supervisors:
                self._report_failure(supervisor)
        self._refresh()
        self._execute(self._scheduler.add_worker(worker.id, message.n_streams))

    def _on_answer(self, worker: Worker, answer: Answer) -> None:
        if isinstance(answer, BatchFailed):
            failed, instructions = self._scheduler.fail(worker.id, BatchId(answer.batch))
            self._execute(instructions)
            for request in failed:
                self._answer(request, TranscriptionFailed(answer.message, fatal=False))
            return
        if answer.fits is not None:
            self._memory_limit.learn(answer.fits, time.monotonic())
            self._limit_batches()  # before the next one is sent
        requests, instructions = self._scheduler.complete(worker.id, BatchId(answer.batch))
        self._execute(instructions)  # before the answers, because the worker is idle
        if not requests:
            return  # a stop has answered them as failed meanwhile
        self.counts.compute(requests, answer)
        if not requests[0].is_translation:  # a batch has one kind of requests only
            self._load_controller.record_batch(
                len(requests),
                answer.compute_s,
                time.monotonic(),
                is_final=requests[0].is_final,
                is_recorded=requests[0].is_recorded,
            )
            self._limit_batches()
        for request, hypothesis in zip(requests, answer.hypotheses, strict=True):
            self._answer(request, hypothesis or TranscriptionFailed("the model failed at this audio", fatal=False))

    def _limit_batches(self) -> None:
        control = self._load_controller
        control.limit_batches(self._memory_limit.windows(time.monotonic()))
        n_streams = len(self._sessions) - len(self._recordings)
        limits = self._scheduler.limit_batches(
            finals=control.max_finals if n_streams > 1 else control.max_finals_alone,
            partials=control.max_partials,
            recorded=control.max_recorded(alone=n_streams == 0),
            translates=control.leaves_time,
            spares_worker=n_streams > 0,
        )
        self._execute(limits)

    def _on_lost(self, worker: Worker) -> None:
        self._ready.pop(worker.id, None)
        self._refresh()
        self._execute(self._scheduler.remove_worker(worker.id))

    def _on_state(self, supervisor: Supervisor) -> None:
        self._report_failure(supervisor)
        self._refresh()

    def _report_failure(self, supervisor: Supervisor) -> None:
        # If no worker was ever ready, the caller of `wait_until_loaded` reports the reason, once.
        if supervisor.failure is not None and self.loaded is not None and self.state is not PoolState.STOPPED:
            logger.error("a worker is given up: %s", supervisor.failure)

    def _refresh_partial(self, partial: Request) -> Request:
        if partial.session not in self._sessions:
            return partial
        _, refresh = self._sessions[partial.session]
        return refresh(partial, time.monotonic())

    def _fail_all(self, message: str) -> None:
        for request in self._scheduler.abandon():
            self._answer(request, WorkerDied(message, fatal=False))

    def _answer_soon(self, request: Request, error: EngineError) -> None:
        # At once its session might ask for more, which would be sent before batches that the scheduler made earlier.
        asyncio.get_running_loop().call_soon(self._answer, request, error)

    def _answer(self, request: Request, answer: Hypothesis | EngineError) -> None:
        self.counts.answer(request, answer)
        if request.session not in self._sessions:  # it has ended meanwhile
            return
        on_answer, _ = self._sessions[request.session]
        try:
            on_answer(request, answer)
        except Exception:
            # The other answers of its batch belong to other sessions.
            logged = logged_id(request.session)
            logger.exception("session %s could not take its answer", logged, extra={"session": logged})

    def _refresh(self) -> None:
        if self.state is not PoolState.STOPPED:
            self._set_state(best_state(supervisor.state for supervisor in self._supervisors))
            if self.state is PoolState.FAILED:
                self._hold()
            else:
                self._hold_no_longer()
                self.given_up = False
                if self.state is PoolState.RECOVERING:  # the worker that died had done useful work
                    self._failed_since_s = None

    def _hold(self) -> None:
        """Let requests wait for up to `hold_s`, if a worker may still start."""
        now_s = time.monotonic()
        if self._failed_since_s is None:
            self._failed_since_s = now_s
        left_s = self._failed_since_s + self._hold_s - now_s
        if self.failure is not None or left_s <= 0:
            self._hold_no_longer()
            self._give_up()
        elif self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(left_s, self._give_up)

    def _hold_no_longer(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self.given_up = True
        self._fail_all("no inference process is left")

    def _set_state(self, state: PoolState) -> None:
        self.state = state
        if state is not PoolState.LOADING:
            self._loaded_or_not.set()


def _quarantined() -> TranscriptionFailed:
    return TranscriptionFailed("this audio crashes the engine and is not tried again", code="quarantined", fatal=False)
