"""The level at which the model receives speech."""

import numpy as np
import pytest

from livecaption.engine.level import SOFT_PEAK, USUAL_PEAK, usual_gain
from tests.support.cases import for_each


def speech(peak: float) -> np.ndarray:
    samples = np.sin(np.arange(16_000) / 20).astype(np.float32)
    return samples * np.float32(peak / np.abs(samples).max())


@for_each("peak", [0.05, 0.01, 0.001])
def test_soft_speech_gets_the_usual_peak(peak: float) -> None:
    assert usual_gain(speech(peak)) * peak == pytest.approx(USUAL_PEAK)


@for_each("peak", [SOFT_PEAK * 1.01, 0.5, 1.0])
def test_speech_at_a_usual_level_is_not_changed(peak: float) -> None:
    assert usual_gain(speech(peak)) == 1.0


def test_silence_and_nothing_stay_what_they_are() -> None:
    assert usual_gain(np.zeros(320, np.float32)) == 1.0
    assert usual_gain(np.zeros(0, np.float32)) == 1.0
