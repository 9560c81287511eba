"""Measure the word error rate and the speed of the engine alone, with recordings in batches.

This is the implementation of `livecaption bench --engine`. The model runs in this process, on one thread. Each
recording is one window. Apart from `virtual_time`, no other module outside the engine imports it.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from livecaption.engine.engine import Engine, answered
from livecaption.engine.models import find_model
from livecaption.engine.processor import tune_processor
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.wer import WordErrors, word_error_rate
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import MAX_WINDOW_MS, Hypothesis, TranscriptionOptions, Window

BATCH_SIZES = (1, 8, 16)
THREADS = 1


@dataclass(frozen=True, slots=True)
class EngineRow:
    """The figures of the engine with one setting.

    Attributes:
        cpu_rtf: CPU time of all threads per second of audio.
        wall_rtf: wall time per second of audio, which is the relevant figure on a GPU.
        n_runaways: texts that did not end or repeated themselves, before they were decoded again.
        n_redone: windows that were decoded twice.
    """

    full_context: bool
    batch_size: int
    n_windows: int
    audio_s: float
    wer: float | None
    cpu_rtf: float
    wall_rtf: float
    n_runaways: int
    n_redone: int


def run(recordings: Sequence[Recording], config: EngineConfig) -> list[EngineRow]:
    """Return a row for each context and batch size. Recordings that are longer than a window are left out.

    Args:
        recordings: the recordings to transcribe.
        config: the model and its device; the other settings are ignored.

    Raises:
        LivecaptionError: the model cannot be used.
        ValueError: no recording is short enough.
    """
    recordings = [recording for recording in recordings if recording.duration_ms <= MAX_WINDOW_MS]
    if not recordings:
        raise ValueError(f"no recording is at most {MAX_WINDOW_MS // 1000} s long")
    files = find_model(config.model)
    tune_processor(THREADS)
    from livecaption.engine.whisper import load_engine  # which imports ctranslate2

    rows = []
    for full_context in (False, True):
        engine = load_engine(files, config.device, config.compute_type, THREADS, full_context=full_context)
        rows += [_measure(engine, recordings, size, full_context=full_context) for size in BATCH_SIZES]
    return rows


def _measure(engine: Engine, recordings: Sequence[Recording], batch_size: int, *, full_context: bool) -> EngineRow:
    windows = [_window(recording) for recording in recordings]
    hypotheses: list[Hypothesis] = []
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for begin in range(0, len(windows), batch_size):
        hypotheses += answered(engine.transcribe(windows[begin : begin + batch_size]))
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    audio_s = sum(recording.duration_ms for recording in recordings) / 1000
    errors = sum(
        (
            word_error_rate([recording.clip.reference], [hypothesis.text], recording.clip.language)
            for recording, hypothesis in zip(recordings, hypotheses, strict=True)
            if recording.clip.reference is not None
        ),
        WordErrors(),
    )
    return EngineRow(
        full_context=full_context,
        batch_size=batch_size,
        n_windows=len(windows),
        audio_s=audio_s,
        wer=errors.rate,
        cpu_rtf=cpu_s / audio_s,
        wall_rtf=wall_s / audio_s,
        n_runaways=sum(hypothesis.runaway for hypothesis in hypotheses),
        n_redone=sum(hypothesis.redone for hypothesis in hypotheses),
    )


def _window(recording: Recording) -> Window:
    return Window(recording.samples, TranscriptionOptions(language=recording.clip.language))


def table(rows: Sequence[EngineRow]) -> Table:
    """Make a table with a line for each setting."""
    title = (
        f"{rows[0].n_windows} recordings, {rows[0].audio_s / 60:.1f} min, one thread; RTF: seconds per second of audio"
    )
    made = Table("context", title=title, title_justify="left")
    for heading in ("batch", "WER %", "RTF of CPU", "RTF", "runaways", "redone"):
        made.add_column(heading, justify="right")
    for row in rows:
        cells: list[Any] = [
            "30 s" if row.full_context else "default",
            row.batch_size,
            "-" if row.wer is None else f"{100 * row.wer:.1f}",
            f"{row.cpu_rtf:.4f}",
            f"{row.wall_rtf:.4f}",
            row.n_runaways,
            row.n_redone,
        ]
        made.add_row(*map(str, cells))
    return made


def as_json(rows: Sequence[EngineRow]) -> str:
    """Return all figures as JSON."""
    return json.dumps({"rows": [asdict(row) for row in rows]}, indent=2) + "\n"
