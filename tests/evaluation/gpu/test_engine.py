"""The steps that measure the engine alone, with two recordings on the CPU."""

from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation.gpu import engine
from livecaption.evaluation.gpu.step import StepSettings

pytestmark = pytest.mark.usefixtures("environment_of_its_own")


@pytest.fixture
def settings(short_recordings: Path) -> StepSettings:
    return StepSettings("cpu", data=short_recordings)


def test_a_load_is_timed_with_its_first_batches(settings: StepSettings) -> None:
    found: list[dict[str, Any]] = []
    engine.load(settings, found.append)
    loaded, batch = found
    assert (loaded["model"], loaded["device"], loaded["compute_type"]) == ("tiny.en", "cpu", "int8")
    assert loaded["load_s"] > 0
    assert batch["batch"] == 2
    assert batch["first_batch_s"] > 0
    assert batch["second_batch_s"] > 0


def test_the_words_of_all_recordings_are_compared_with_what_was_said(settings: StepSettings) -> None:
    findings: list[dict[str, Any]] = []
    engine.accuracy(settings, findings.append)
    [found] = findings
    assert list(found["texts"]) == ["ps-austen-0880", "ps-austen-0930"]
    assert found["wer"] < 0.2
    assert found["reference_words"] > 10
    assert (found["n_empty"], found["n_with_times"]) == (0, 2)


def test_finals_and_partials_are_measured_in_batches_of_each_size(
    settings: StepSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MEASURED_S", 0.0)
    monkeypatch.setattr(engine, "CPU_BATCH_SIZES", (1, 2))
    found: list[dict[str, Any]] = []
    engine.batches(settings, found.append)
    sizes = [(row["kind"], row["batch"]) for row in found]
    assert sizes == [("final", 1), ("final", 2), ("partial", 1), ("partial", 2)]
    assert all(row["windows_per_s"] > 0 for row in found)
