"""Batches pass through the stages of an engine, and are answered in order."""

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
import pytest

from livecaption.engine import halving
from livecaption.engine.engine import Compute, Engine, Finish
from livecaption.engine.failures import typed_errors
from livecaption.engine.stages import Answer, Stages
from livecaption.errors import EngineUnusable, OutOfMemory, TranscriptionFailed
from livecaption.ipc import lifeline
from livecaption.ipc.messages import BatchFailed, Transcribe
from livecaption.recognition import BatchTime, EngineCosts, Hypothesis, ModelDescription, Window
from tests.support.cases import for_each

WINDOW = Window(np.zeros(160, np.float32))
HYPOTHESIS = Hypothesis("", "en", 0.0, 1.0)
SOON_S = 10.0


class SteppedEngine(Engine):
    """An engine whose batches wait until a test lets them go on. They are numbered from 1, in order."""

    def __init__(self, n_streams: int) -> None:
        self.n_streams = n_streams
        self.description = ModelDescription("", "", "", (), translates=False)
        self.costs = EngineCosts((BatchTime(1, 0.1),), (BatchTime(1, 0.1),), max_batch=1)
        self.seen: list[str] = []
        self.errors: dict[str, Exception] = {}
        self._changed = threading.Condition()
        self._open: set[str] = set()
        self._n_batches = 0

    def prepare(self, windows: Sequence[Window]) -> Compute:
        self._n_batches += 1
        number = self._n_batches
        self._pass(f"prepare {number}")

        def compute() -> Finish:
            self._pass(f"compute {number}", waits=True)
            return lambda: self._pass(f"finish {number}") or [HYPOTHESIS] * len(windows)

        return compute

    def device_memory(self) -> None:
        """Return None."""

    def let(self, step: str) -> None:
        """Let a batch be computed."""
        with self._changed:
            self._open.add(step)
            self._changed.notify_all()

    def wait_for(self, *steps: str) -> None:
        """Wait until these steps have begun."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(steps) <= set(self.seen), SOON_S), self.seen

    def _pass(self, step: str, *, waits: bool = False) -> None:
        with self._changed:
            self.seen.append(step)
            self._changed.notify_all()
            if waits:
                assert self._changed.wait_for(lambda: step in self._open, SOON_S)
        if step in self.errors:
            raise self.errors[step]


class ShortOfMemory(SteppedEngine):
    """Has memory for one window at once, and counts the tries that begin while the last one keeps what it made."""

    n_tries = n_kept = 0
    _made: Callable[[], object] = staticmethod(lambda: None)

    def prepare(self, windows: Sequence[Window]) -> Compute:
        def compute() -> Finish:
            self.n_tries += 1
            self.n_kept += self._made() is not None
            made = {object()}
            self._made = weakref.ref(made)
            with typed_errors():
                if len(windows) > 1:
                    raise RuntimeError("CUDA failed with error out of memory")
            return lambda: [HYPOTHESIS]

        return compute


class Bench:
    """The stages with an engine, and what comes of them."""

    def __init__(self, engine: SteppedEngine) -> None:
        self.engine = engine
        self.answers: list[Answer] = []
        self.failures: list[BaseException] = []
        self.armed: list[float | None] = []
        self.stages = Stages(self.engine, self.answers.append, self._fail)

    def _fail(self, error: BaseException) -> NoReturn:
        self.failures.append(error)
        raise SystemExit

    def begin(self, *numbers: int, n_windows: int = 1) -> threading.Thread:
        """Begin batches on a thread, because there may be no room for them. Batch n may take n seconds."""

        def begin_all() -> None:
            for number in numbers:
                self.stages.begin(Transcribe(number, float(number), (WINDOW,) * n_windows))

        thread = threading.Thread(target=begin_all, daemon=True)
        thread.start()
        return thread

    def finish(self, thread: threading.Thread) -> list[int]:
        """Let all batches be computed, and return the numbers of the answers."""
        for number in range(1, 9):
            self.engine.let(f"compute {number}")
        thread.join(SOON_S)
        self.stages.drain()
        return [answer.batch for answer in self.answers]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    monkeypatch.setattr(halving, "MEMORY_WAIT_S", 0.0)

    def make(n_streams: int, engine: type[SteppedEngine] = SteppedEngine) -> Bench:
        made = Bench(engine(n_streams))
        monkeypatch.setattr(lifeline, "arm_dead_man", made.armed.append)
        monkeypatch.setattr(lifeline, "disarm_dead_man", lambda: made.armed.append(None))
        return made

    return make


def test_with_one_stream_a_batch_is_begun_once_the_last_one_is_answered(bench: Callable[..., Bench]) -> None:
    made = bench(1)
    made.begin(1).join(SOON_S)
    beginning = made.begin(2)
    made.engine.wait_for("compute 1")
    beginning.join(0.2)
    assert beginning.is_alive()
    assert made.finish(beginning) == [1, 2]
    assert made.engine.seen == [f"{stage} {number}" for number in (1, 2) for stage in ("prepare", "compute", "finish")]
    assert made.armed == [1.0, None, 2.0, None]


def test_with_two_streams_two_batches_are_computed_and_a_third_prepared(bench: Callable[..., Bench]) -> None:
    made = bench(2)
    beginning = made.begin(1, 2, 3, 4)
    made.engine.wait_for("compute 1", "compute 2", "prepare 3")
    made.engine.let("compute 2")
    made.engine.wait_for("compute 3")
    assert not {"prepare 4", "finish 2"} & set(made.engine.seen)
    assert made.finish(beginning) == [1, 2, 3, 4]


def test_the_switch_is_armed_for_the_oldest_batch(bench: Callable[..., Bench]) -> None:
    made = bench(2)
    beginning = made.begin(1, 2, 3)
    made.engine.wait_for("compute 1", "compute 2", "prepare 3")
    assert made.armed == [1.0]
    made.finish(beginning)
    assert made.armed == [1.0, 2.0, 3.0, None]


@for_each("stage", ["prepare", "compute", "finish"])
def test_a_batch_that_fails_in_any_stage_is_answered_in_its_turn(stage: str, bench: Callable[..., Bench]) -> None:
    made = bench(2)
    made.engine.errors[f"{stage} 2"] = TranscriptionFailed("no")
    assert made.finish(made.begin(1, 2, 3)) == [1, 2, 3]
    assert made.answers[1] == BatchFailed(2, "no")


def test_a_batch_for_which_memory_was_short_is_computed_again(bench: Callable[..., Bench]) -> None:
    made = bench(2)
    made.engine.errors["compute 1"] = OutOfMemory("no memory")
    assert made.finish(made.begin(1)) == [1]
    assert [answer.hypotheses for answer in made.answers] == [(HYPOTHESIS,)]


def test_a_batch_is_halved_while_another_is_computed_and_answered_in_its_turn(bench: Callable[..., Bench]) -> None:
    made = bench(2)
    made.engine.errors["compute 1"] = OutOfMemory("no memory")
    beginning = made.begin(1, 2, n_windows=4)
    made.engine.wait_for("compute 1", "compute 2")
    made.engine.let("compute 1")
    made.engine.wait_for("compute 3")
    assert made.finish(beginning) == [1, 2]
    assert [(len(answer.hypotheses), answer.fits) for answer in made.answers] == [(4, 2), (4, None)]


def test_a_batch_for_which_there_is_no_memory_fails_alone(bench: Callable[..., Bench]) -> None:
    made = bench(2)
    made.engine.errors = {f"compute {number}": OutOfMemory("no memory") for number in (1, 3)}
    beginning = made.begin(1, 2)
    made.engine.wait_for("compute 1", "compute 2")
    assert made.finish(beginning) == [1, 2]
    assert made.answers[0] == BatchFailed(1, "no memory")
    assert made.answers[1].hypotheses == (HYPOTHESIS,)


def test_a_failed_try_keeps_no_memory_while_smaller_batches_are_computed(bench: Callable[..., Bench]) -> None:
    made = bench(1, ShortOfMemory)
    assert isinstance(made.engine, ShortOfMemory)
    assert made.finish(made.begin(1, n_windows=4)) == [1]
    assert made.answers[0].fits == 1
    # All, two, and each alone.
    assert (made.engine.n_tries, made.engine.n_kept) == (6, 0)


def test_a_lost_device_ends_the_process_once_the_batches_before_are_answered(bench: Callable[..., Bench]) -> None:
    made = bench(2)
    lost = made.engine.errors["compute 2"] = EngineUnusable("lost")
    assert made.finish(made.begin(1, 2)) == [1]
    assert made.failures == [lost]
