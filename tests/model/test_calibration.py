"""The real model takes as many steps for the noise of the calibration as for speech."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livecaption.engine.calibration import FINAL_S, TOKENS_PER_S
from livecaption.engine.whisper import WhisperEngine
from livecaption.recognition import TranscriptionOptions, Window

pytestmark = pytest.mark.model

NOISE = Window(
    np.random.default_rng(1).normal(0.0, 0.05, 80_000).astype(np.float32), TranscriptionOptions(words=True), True
)


class CountingModel:
    """Counts the tokens of each text."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.n_tokens: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, features: Any, prompts: Sequence[list[int]], **options: Any) -> Any:
        results = self._model.generate(features, prompts, **options)
        self.n_tokens.append([len(result.sequences_ids[0]) for result in results])
        return results


@pytest.fixture
def counting(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> CountingModel:
    model = CountingModel(engine._decoder.model)
    monkeypatch.setattr(engine._decoder, "model", model)
    return model


def test_a_rehearsed_window_has_as_many_tokens_as_it_should_and_is_decoded_once(
    engine: WhisperEngine, counting: CountingModel
) -> None:
    engine.rehearse([NOISE] * 3, 16)
    assert counting.n_tokens == [[16] * 3]


def test_a_rehearsal_changes_nothing(engine: WhisperEngine, counting: CountingModel) -> None:
    before = engine.transcribe([NOISE])
    engine.rehearse([NOISE], 16)
    assert engine.transcribe([NOISE]) == before
    assert before[0].text == ""


def test_speech_has_about_as_many_tokens(
    engine: WhisperEngine, counting: CountingModel, samples: dict[str, npt.NDArray[np.float32]]
) -> None:
    n = round(FINAL_S * 16_000)
    speech = [clip for name, clip in samples.items() if name.startswith(("jfk", "ls-", "ps-")) and len(clip) >= n]
    engine.transcribe([Window(clip[:n], effort="reduced") for clip in speech])
    # And the one that ends the text, which a rehearsal does not write.
    assert np.mean(counting.n_tokens[0]) + 1 == pytest.approx(TOKENS_PER_S * FINAL_S, rel=0.2)


def test_a_loaded_engine_has_measured_batches(engine: WhisperEngine) -> None:
    assert [each.n_windows for each in engine.costs.finals] == [1]
    assert engine.costs.finals[0].compute_s > 0.0
