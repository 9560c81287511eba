"""The embedded model, and the audio for it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from livecaption.engine.models import find_model
from livecaption.engine.whisper import WhisperEngine, load_engine
from livecaption.evaluation.clips import Clip, read_manifest

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def engine() -> WhisperEngine:
    return load_engine(find_model(), device="cpu", threads=1)


@pytest.fixture(scope="session")
def clips() -> dict[str, Clip]:
    """The recordings in `tests/data`, by id."""
    return {clip.id: clip for clip in read_manifest(DATA)}


@pytest.fixture(scope="session")
def samples(clips: dict[str, Clip]) -> dict[str, npt.NDArray[np.float32]]:
    """float32 [n_samples], mono, 16 kHz, of the recordings, by id."""
    return {name: soundfile.read(clip.path, dtype="float32")[0] for name, clip in clips.items()}


@pytest.fixture(scope="session")
def sounds(samples: dict[str, npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Barks and sneezes, as the VAD cuts them out."""
    spans_s = {"nonspeech-dog": [(0.34, 1.3), (3.1, 7.976)], "nonspeech-sneeze": [(0.3, 1.9), (5.3, 6.9)]}
    return [
        samples[name][round(begin * 16_000) : round(end * 16_000)]
        for name, spans in spans_s.items()
        for begin, end in spans
    ]
