"""A batch whose memory is short is transcribed in smaller ones."""

import time
from collections.abc import Sequence

import numpy as np
import pytest

from livecaption.engine import halving
from livecaption.engine.halving import BatchAnswers
from livecaption.engine.scripted import ScriptedEngine
from livecaption.errors import OutOfMemory, TranscriptionFailed
from livecaption.recognition import Hypothesis, TranscriptionOptions, Window
from tests.support.cases import for_each


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Spare the tests the waits, and note how long they were."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda s: waited.append(s) if s else None)
    return waited


class ShortOfMemory(ScriptedEngine):
    """Has no memory for these batches, counted from 0, and notes how large each was."""

    def __init__(self, *batches: int) -> None:
        super().__init__()
        self.short_at = batches
        self.sizes: list[int] = []

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        self.sizes.append(len(windows))
        if len(self.sizes) - 1 in self.short_at:
            raise OutOfMemory("none is left")
        return super().transcribe(windows)


def said(*prompts: str) -> list[Window]:
    return [Window(np.zeros(9600, np.float32), TranscriptionOptions(prompt=f"script: {each}")) for each in prompts]


def transcribe(engine: ScriptedEngine, windows: Sequence[Window]) -> BatchAnswers:
    return halving.transcribe(engine, windows, "all at once is too much")


def texts(answers: BatchAnswers) -> list[str | None]:
    return [hypothesis and hypothesis.text for hypothesis in answers.hypotheses]


def test_a_batch_is_transcribed_in_halves_and_never_again_as_a_whole() -> None:
    engine = ShortOfMemory()
    answers = transcribe(engine, said("say 0", "say 1", "say 2", "say 3", "say 4"))
    assert (texts(answers), answers.fits, engine.sizes) == (["0", "1", "2", "3", "4"], 2, [2, 2, 1])


def test_every_window_of_a_batch_is_answered_though_memory_is_short(waits: list[float]) -> None:
    answers = transcribe(ScriptedEngine("memory 4"), said(*(f"say {n}" for n in range(16))))
    assert texts(answers) == [str(n) for n in range(16)]
    assert answers.fits == 4
    assert waits == []


def test_windows_that_were_transcribed_before_memory_became_short_stay_so() -> None:
    engine = ShortOfMemory(1)
    answers = transcribe(engine, said(*(f"say {n}" for n in range(8))))
    assert texts(answers) == [str(n) for n in range(8)]
    assert (engine.sizes, answers.fits) == ([4, 4, 2, 2], 2)


def test_a_single_window_is_tried_again_after_a_moment(waits: list[float]) -> None:
    engine = ShortOfMemory()
    answers = transcribe(engine, said("say 0"))
    assert (texts(answers), answers.fits, waits, engine.sizes) == (["0"], None, [0.5], [1])


def test_if_memory_is_enough_for_no_window_the_batch_has_failed(waits: list[float]) -> None:
    with pytest.raises(OutOfMemory):
        transcribe(ScriptedEngine("memory 0"), said("say 0", "say 1", "say 2"))
    assert waits == [0.5]


@for_each(
    ("short_at", "expected"),
    [
        ((0, 1), [None, "1", "2"]),
        ((1, 2), ["0", None, "2"]),
        ((2, 3), ["0", "1", None]),
        ((0, 1, 2), [None, None, "2"]),
    ],
)
def test_a_window_for_which_memory_is_not_enough_fails_alone(
    short_at: tuple[int, ...], expected: list[str | None], caplog: pytest.LogCaptureFixture
) -> None:
    answers = transcribe(ShortOfMemory(*short_at), said("say 0", "say 1", "say 2"))
    assert texts(answers) == expected
    assert f"{expected.count(None)} of 3 windows failed" in caplog.text


def test_a_window_of_which_the_engine_makes_no_numbers_fails_alone() -> None:
    assert texts(transcribe(ScriptedEngine(), said("say 0", "nan", "say 2"))) == ["0", None, "2"]


def test_another_failure_is_that_of_the_batch() -> None:
    with pytest.raises(TranscriptionFailed):
        transcribe(ScriptedEngine(), said("say 0", "fail"))
