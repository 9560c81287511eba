"""The detector finds the speech in a window."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from livecaption.engine.speech_detection import CHUNK_MS, Speech, SpeechDetector, speech_of

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector()


@pytest.fixture(scope="module")
def recorded() -> npt.NDArray[np.float32]:
    """2 s from the midst of a speech."""
    samples, _ = soundfile.read(DATA / "jfk.flac", dtype="float32")
    return samples[8 * 16_000 : 10 * 16_000]


def noise(seconds: float) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(scale=0.05, size=round(seconds * 16_000)).astype(np.float32)


def speech_in_window(detector: SpeechDetector, samples: npt.NDArray[np.float32]) -> Speech:
    return speech_of(detector.analyze(samples, None).speech)


def speech_in(*probabilities: float) -> Speech:
    return speech_of(np.array(probabilities, np.float32))


def test_speech_is_what_is_likely_and_goes_on_while_it_is_not_unlikely() -> None:
    found = speech_in(0.1, 0.75, 0.2, 0.6, 0.4, 0.3)
    assert (found.total_ms, found.end_ms, found.probability) == (round(2 * CHUNK_MS), round(5 * CHUNK_MS), 0.75)


def test_a_window_that_is_never_likely_to_be_speech_has_none() -> None:
    assert speech_in(0.375, 0.25) == Speech(0, 0, probability=0.375)


def test_the_longest_pause_is_the_widest_gap_between_speech() -> None:
    word, pause = [0.75], [0.0] * 10
    assert speech_in(*pause, *word, *pause, *word, *pause, *pause, *word, *pause, *pause, *pause).pause_ms == round(
        32 * CHUNK_MS
    )
    assert speech_in(*pause, *word, *pause[:9], *word, *pause).pause_ms == 0, "shorter than 300 ms"
    assert speech_in(*pause, *word).pause_ms == 0


@pytest.mark.parametrize("level_db", [0, -20, -40])
def test_speech_is_found_at_any_level(
    detector: SpeechDetector, recorded: npt.NDArray[np.float32], level_db: int
) -> None:
    assert speech_in_window(detector, recorded * np.float32(10 ** (level_db / 20))).total_ms > 1000


def test_speech_ends_where_noise_goes_on(detector: SpeechDetector, recorded: npt.NDArray[np.float32]) -> None:
    speech = speech_in_window(detector, np.concatenate([recorded, noise(2.0)]))
    assert 1500 <= speech.end_ms <= 2500


def test_speech_that_a_window_begins_with_is_found(detector: SpeechDetector) -> None:
    """ "Ask not": without anything before it the network would be deaf to it."""
    samples, _ = soundfile.read(DATA / "jfk.flac", dtype="float32")
    assert speech_in_window(detector, samples[round(3.3 * 16_000) : round(4.4 * 16_000)]).total_ms >= 300


def test_the_telemetry_of_the_runtime_is_off(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry begins with a file of its own among the temporary ones, when it is imported."""
    program = "from livecaption.engine.speech_detection import SpeechDetector; SpeechDetector()"
    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], env=environ | {"TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "samples",
    [noise(3.0), np.zeros(48_000, np.float32), np.zeros(0, np.float32), noise(3.0) * np.float32(1e-4)],
    ids=["noise", "silence", "nothing", "faint noise"],
)
def test_there_is_none_in_noise_and_silence(detector: SpeechDetector, samples: npt.NDArray[np.float32]) -> None:
    assert speech_in_window(detector, samples).total_ms == 0
    assert speech_in_window(detector, samples).end_ms == 0
