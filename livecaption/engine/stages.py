"""Run batches through the stages of an engine, each stage on threads of its own, and answer them in order.

    the caller: prepare ─> `engine.n_streams` threads: compute ─> one thread: finish, encode the answer, send it

On a GPU, Python's work for a batch goes on while others are computed. On a CPU, where the stages would only take time
from each other, a batch is begun once the last one is answered: docs/decisions/0054-passes-on-a-gpu.md.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn

from livecaption.engine import halving
from livecaption.engine.batches import BegunBatches
from livecaption.engine.engine import Compute, Engine
from livecaption.engine.halving import BatchAnswers
from livecaption.errors import EngineUnusable, LivecaptionError, OutOfMemory
from livecaption.ipc import lifeline
from livecaption.ipc.messages import BatchFailed, Transcribe, Transcribed
from livecaption.recognition import Window

logger = logging.getLogger(__name__)

Answer = Transcribed | BatchFailed


class Stages:
    """The stages, with their threads and the dead-man's switch.

    Args:
        engine: computes.
        answer: called with each answer, in the order of the batches, on one thread.
        fail: called on a thread of this class if the process must end. It does not return.
    """

    def __init__(
        self, engine: Engine, answer: Callable[[Answer], None], fail: Callable[[BaseException], NoReturn]
    ) -> None:
        self._engine = engine
        self._answer = answer
        self._fail = fail
        # One more than are computed, for the batch that is prepared or finished meanwhile.
        self._room = threading.Semaphore(1 if engine.n_streams == 1 else engine.n_streams + 1)
        self._begun = BegunBatches()
        self._lock = threading.Lock()
        """Held while the begun batches change, and the switch with them."""
        self._computing = ThreadPoolExecutor(engine.n_streams, "compute")
        self._finishing = ThreadPoolExecutor(1, "finish")

    def begin(self, batch: Transcribe) -> None:
        """Prepare a batch once there is room for it, and leave the rest to the threads."""
        self._room.acquire()
        with self._lock:
            is_alone = self._begun.deadline_s is None
            self._begun.begin(batch.deadline_s, time.monotonic())
            if is_alone:
                lifeline.arm_dead_man(batch.deadline_s)
        computed: Future[Callable[[], BatchAnswers]]
        try:
            computed = self._computing.submit(self._compute, self._engine.prepare(batch.windows), batch.windows)
        except Exception as error:
            # It is reported when it is the batch's turn.
            computed = Future()
            computed.set_exception(error)
        self._finishing.submit(self._finish, batch, computed)

    def drain(self) -> None:
        """Return once all batches are answered."""
        self._finishing.shutdown()

    def _compute(self, compute: Compute, windows: Sequence[Window]) -> Callable[[], BatchAnswers]:
        try:
            finish = compute()
        except OutOfMemory as error:
            shortage = halving.freed(error)
        else:
            return lambda: BatchAnswers(tuple(finish()))
        answers = halving.transcribe(self._engine, windows, shortage)
        return lambda: answers

    def _finish(self, batch: Transcribe, computed: "Future[Callable[[], BatchAnswers]]") -> None:
        try:
            outcome = _outcome(computed)
            with self._lock:
                compute_s = self._begun.answer(time.monotonic())
                if self._begun.deadline_s is None:
                    lifeline.disarm_dead_man()
                else:
                    lifeline.arm_dead_man(self._begun.deadline_s)
            if isinstance(outcome, str):
                self._answer(BatchFailed(batch.batch, outcome))
            else:
                self._answer(Transcribed(batch.batch, outcome.hypotheses, compute_s, outcome.fits))
            self._room.release()
        except BaseException as error:
            self._fail(error)


def _outcome(computed: "Future[Callable[[], BatchAnswers]]") -> BatchAnswers | str:
    """Wait for the answers to a batch; a text: it has failed.

    Raises:
        EngineUnusable: the process must end.
    """
    try:
        return computed.result()()
    except EngineUnusable:
        raise
    except LivecaptionError as error:
        return error.message
    except Exception as error:
        logger.exception("a batch failed")
        return f"the engine failed with {type(error).__name__}"
