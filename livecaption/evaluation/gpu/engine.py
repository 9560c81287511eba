"""Measure the engine alone, for `livecaption.evaluation.gpu`: its load, its words, its speed by batch size."""

import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice

from livecaption.audio import samples_of
from livecaption.engine.engine import Engine, answered
from livecaption.engine.models import find_model
from livecaption.engine.processor import tune_processor
from livecaption.evaluation.engine_bench import THREADS
from livecaption.evaluation.gpu.step import Record, StepSettings, main
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.wer import word_error_rate
from livecaption.recognition import Hypothesis, TranscriptionOptions, Window

BATCH = 8
BATCH_SIZES = (1, 8, 32, 64)
CPU_BATCH_SIZES = (1, 8)
MEASURED_S = 1.0
"""Time that a batch size is measured at least. Shorter: noise. Longer: less time for the other steps."""
PARTIAL_MS = 4000
"""Audio of a partial: half of what a long utterance grows to."""


def load(settings: StepSettings, record: Record) -> None:
    """Load the model as an inference process does, and transcribe a batch twice: kernels may still be missing."""
    begin_s = time.perf_counter()
    engine = _load(settings)
    loaded_s = time.perf_counter()
    memory = engine.device_memory()
    description = engine.description
    record(
        {
            "load_s": loaded_s - begin_s,
            "model": description.model,
            "device": description.device,
            "compute_type": description.compute_type,
            "device_memory_used_bytes": memory and memory.used_bytes,
        }
    )
    batch = _windows(settings.recordings()[:BATCH], is_final=True)
    record({"batch": len(batch), "first_batch_s": _took_s(engine, batch), "second_batch_s": _took_s(engine, batch)})


def accuracy(settings: StepSettings, record: Record) -> None:
    """Transcribe all recordings, so that words can be compared between devices and compute types."""
    engine = _load(settings)
    recordings = settings.recordings()
    windows = _windows(recordings, is_final=True)
    hypotheses: list[Hypothesis] = []
    for begin in range(0, len(windows), BATCH):
        hypotheses += answered(engine.transcribe(windows[begin : begin + BATCH]))
    texts = [hypothesis.text for hypothesis in hypotheses]
    errors = word_error_rate([recording.clip.reference or "" for recording in recordings], texts)
    record(
        {
            "device": engine.description.device,
            "compute_type": engine.description.compute_type,
            "wer": errors.rate,
            "reference_words": errors.reference_words,
            "n_empty": sum(not text for text in texts),
            "n_redone": sum(hypothesis.redone for hypothesis in hypotheses),
            "n_with_times": sum(bool(hypothesis.words) for hypothesis in hypotheses),
            "texts": dict(zip((recording.clip.id for recording in recordings), texts, strict=True)),
        }
    )


def batches(settings: StepSettings, record: Record) -> None:
    """Measure how many windows in a second are transcribed in batches of each size."""
    engine = _load(settings)
    recordings = settings.recordings()
    for is_final in (True, False):
        windows = _windows(recordings, is_final=is_final)
        for size in CPU_BATCH_SIZES if settings.on_cpu else BATCH_SIZES:
            batch = list(islice(cycle(windows), size))
            took_s = [_took_s(engine, batch)]
            while len(took_s) == 1 or sum(took_s) < MEASURED_S:
                took_s.append(_took_s(engine, batch))
            record(
                {
                    "kind": "final" if is_final else "partial",
                    "batch": size,
                    "windows_per_s": size / min(took_s),
                }
            )


def _load(settings: StepSettings) -> Engine:
    files = find_model(settings.model)
    tune_processor(THREADS)
    from livecaption.engine.whisper import load_engine  # which imports ctranslate2

    return load_engine(files, settings.device, settings.compute_type, THREADS)


def _windows(recordings: Sequence[Recording], *, is_final: bool) -> list[Window]:
    n_samples = None if is_final else samples_of(PARTIAL_MS)
    return [
        Window(
            recording.samples[:n_samples],
            TranscriptionOptions(language=recording.clip.language, words=is_final),
            is_final=is_final,
        )
        for recording in recordings
    ]


def _took_s(engine: Engine, batch: Sequence[Window]) -> float:
    begin_s = time.perf_counter()
    engine.transcribe(batch)
    return time.perf_counter() - begin_s


if __name__ == "__main__":
    main({"load": load, "accuracy": accuracy, "batches": batches}, sys.argv[1:])
