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
    return load_engine(find_model(), device="cpu", threads=2)


@pytest.fixture(scope="session")
def clips() -> dict[str, Clip]:
    """The recordings in `tests/data`, by id."""
    return {clip.id: clip for clip in read_manifest(DATA)}


@pytest.fixture(scope="session")
def samples(clips: dict[str, Clip]) -> dict[str, npt.NDArray[np.float32]]:
    """float32 [n_samples], mono, 16 kHz, of the recordings, by id."""
    return {name: soundfile.read(clip.path, dtype="float32")[0] for name, clip in clips.items()}
