"""Batches pass through the stages of an engine, and are answered in order."""

import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
import pytest

from livecaption.engine.engine import Compute, Engine, Finish
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


class Bench:
    """The stages with a stepped engine, and what comes of them."""

    def __init__(self, n_streams: int) -> None:
        self.engine = SteppedEngine(n_streams)
        self.answers: list[Answer] = []
        self.failures: list[BaseException] = []
        self.armed: list[float | None] = []
        self.stages = Stages(self.engine, self.answers.append, self._fail)

    def _fail(self, error: BaseException) -> NoReturn:
        self.failures.append(error)
        raise SystemExit

    def begin(self, *numbers: int) -> threading.Thread:
        """Begin batches on a thread, because there may be no room for them. Batch n may take n seconds."""

        def begin_all() -> None:
            for number in numbers:
                self.stages.begin(Transcribe(number, float(number), (WINDOW,)))

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
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Bench]:
    def make(n_streams: int) -> Bench:
        made = Bench(n_streams)
        monkeypatch.setattr(lifeline, "arm_dead_man", made.armed.append)
        monkeypatch.setattr(lifeline, "disarm_dead_man", lambda: made.armed.append(None))
        return made

    return make


def test_with_one_stream_a_batch_is_begun_once_the_last_one_is_answered(bench: Callable[[int], Bench]) -> None:
    made = bench(1)
    made.begin(1).join(SOON_S)
    beginning = made.begin(2)
    made.engine.wait_for("compute 1")
    beginning.join(0.2)
    assert beginning.is_alive()
    assert made.finish(beginning) == [1, 2]
    assert made.engine.seen == [f"{stage} {number}" for number in (1, 2) for stage in ("prepare", "compute", "finish")]
    assert made.armed == [1.0, None, 2.0, None]


def test_with_two_streams_two_batches_are_computed_and_a_third_prepared(bench: Callable[[int], Bench]) -> None:
    made = bench(2)
    beginning = made.begin(1, 2, 3, 4)
    made.engine.wait_for("compute 1", "compute 2", "prepare 3")
    made.engine.let("compute 2")
    made.engine.wait_for("compute 3")
    assert not {"prepare 4", "finish 2"} & set(made.engine.seen)
    assert made.finish(beginning) == [1, 2, 3, 4]


def test_the_switch_is_armed_for_the_oldest_batch(bench: Callable[[int], Bench]) -> None:
    made = bench(2)
    beginning = made.begin(1, 2, 3)
    made.engine.wait_for("compute 1", "compute 2", "prepare 3")
    assert made.armed == [1.0]
    made.finish(beginning)
    assert made.armed == [1.0, 2.0, 3.0, None]


@for_each("stage", ["prepare", "compute", "finish"])
def test_a_batch_that_fails_in_any_stage_is_answered_in_its_turn(stage: str, bench: Callable[[int], Bench]) -> None:
    made = bench(2)
    made.engine.errors[f"{stage} 2"] = TranscriptionFailed("no")
    assert made.finish(made.begin(1, 2, 3)) == [1, 2, 3]
    assert made.answers[1] == BatchFailed(2, "no")


def test_a_batch_for_which_memory_was_short_is_computed_again(bench: Callable[[int], Bench]) -> None:
    made = bench(2)
    made.engine.errors["compute 1"] = OutOfMemory("no memory")
    assert made.finish(made.begin(1)) == [1]
    assert [answer.hypotheses for answer in made.answers] == [(HYPOTHESIS,)]


def test_a_lost_device_ends_the_process_once_the_batches_before_are_answered(bench: Callable[[int], Bench]) -> None:
    made = bench(2)
    lost = made.engine.errors["compute 2"] = EngineUnusable("lost")
    assert made.finish(made.begin(1, 2)) == [1]
    assert made.failures == [lost]
