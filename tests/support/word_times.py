"""Times of words, compared with those of forced alignment."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livecaption.engine.engine import Engine
from livecaption.recognition import TranscriptionOptions, Window

MANIFEST = Path(__file__).parent.parent / "data" / "manifest.jsonl"


def median_errors_ms(
    engine: Engine, names: Sequence[str], samples: Mapping[str, npt.NDArray[np.float32]]
) -> tuple[float, float]:
    """Return how far the beginnings and the ends of words are from the aligned ones, in the median.

    Args:
        engine: engine under test.
        names: ids of English recordings in `tests/data`.
        samples: their audio, by id.

    Raises:
        ValueError: the engine found more or fewer words in a recording than were said.
    """
    entries = [json.loads(line) for line in MANIFEST.read_text().splitlines()]
    aligned = {entry["id"]: entry.get("words_aligned", []) for entry in entries}
    errors_ms = []
    for name in names:
        [hypothesis] = engine.transcribe([Window(samples[name], TranscriptionOptions("en", words=True))])
        errors_ms += [
            (abs(word.start_ms - spoken["start"] * 1000), abs(word.end_ms - spoken["end"] * 1000))
            for word, spoken in zip(hypothesis.words, aligned[name], strict=True)
        ]
    begin_ms, end_ms = np.median(errors_ms, axis=0)
    return float(begin_ms), float(end_ms)
