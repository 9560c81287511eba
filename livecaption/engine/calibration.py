"""Time batches while an engine loads, so that the server can compute how many streams it can serve.

The audio is noise, and the model is made to write as many tokens as people say in that time. Silence would cost less
than speech, because the decoder writes nothing for it. Recorded speech would need a text that each model writes alike.
Figures: docs/decisions/0053-calibration.md.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.errors import OutOfMemory, TranscriptionFailed
from livecaption.recognition import Analysis, BatchTime, EngineCosts, PrecedingUtterance, TranscriptionOptions, Window

FINAL_S = 5.0
PARTIAL_S = 3.0
"""Lengths in s of the windows: the means of finals and partials of people who speak without pause."""
NEW_S = 0.85
"""Audio in s of a window that is not analyzed yet: the interval of partials on a busy server."""
TOKENS_PER_S = 3.3
"""Tokens that the decoder writes for a second of speech."""
SIZES_ON_CPU = (1, 2)
SIZES_ON_GPU = (1, 8, 32, 64)
"""Windows in the batches. Larger ones on a CPU: the start takes longer, and the line through one and four windows hides
that the second window saves the most. Single windows alone: how much a batch saves is a guess. A window in a batch of
64 costs a GPU nearly as little as in any larger one."""
MAX_BATCH_ON_CPU = 16
"""Windows in one batch on a CPU, at most. In larger ones they cost no less: docs/decisions/0020-load-control.md."""
LONGEST_S = 2.0
"""Time in s that a batch may be expected to take. Longer ones are not tried, because a server has shorter ones anyway.
More: it takes longer to load. Less: slow machines are measured less well."""

TEXT = "And so my fellow Americans ask not what your country can do for you, but which of those four boats sails today."
"""The text of every rehearsed window, or its beginning."""

Rehearse = Callable[[Sequence[Window], int], object]
"""Computes windows as if so many tokens were said in each; see `WhisperEngine.rehearse`."""


Analyze = Callable[[Window], Analysis | None]
"""Returns the analysis of a window; see `Analyzer`."""


def measure_costs(
    rehearse: Rehearse,
    analyze: Analyze,
    *,
    on_gpu: bool,
    calibrates: bool,
    is_replacement: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> EngineCosts:
    """Warm an engine up, and return what its batches cost.

    Args:
        rehearse: computes a batch.
        analyze: analyzes the beginning of a window, which is done before in service.
        on_gpu: True: larger batches are timed. Kernels are compiled when they are first used, so windows of all forms
            come first, and of two batches of each size the faster one counts.
        calibrates: False: time the first window only.
        is_replacement: True: leave out the windows of all forms, because the driver has kept their kernels.
        clock: returns the time in s.

    Raises:
        TranscriptionFailed: single windows do not work.
        OutOfMemory: there is no memory for a single window.
        EngineUnusable: the device is lost.
    """
    final, partial = _window(FINAL_S, analyze), replace(_window(PARTIAL_S, analyze), is_final=False)

    def seconds(window: Window, n: int) -> float:
        began_s = clock()
        rehearse([window] * n, round(TOKENS_PER_S * len(window.samples) / SAMPLE_RATE_HZ))
        return clock() - began_s

    sizes, n_times = (SIZES_ON_GPU, 2) if on_gpu else (SIZES_ON_CPU, 1)
    largest = max(sizes) if on_gpu else MAX_BATCH_ON_CPU
    first_s = seconds(partial, 1)
    for window in _forms(final, partial) if on_gpu and not is_replacement else ():
        seconds(window, 1)
    if not calibrates or (first_s > LONGEST_S and not on_gpu):
        single = (BatchTime(1, first_s),)
        return EngineCosts(single, single, largest)

    def times(window: Window) -> tuple[BatchTime, ...]:
        nonlocal largest
        measured: list[BatchTime] = []
        for n in sizes:
            if measured and _expected_s(n, measured, on_gpu=on_gpu) > LONGEST_S:
                break
            try:
                measured.append(BatchTime(n, min(seconds(window, n) for _ in range(n_times))))
            except (OutOfMemory, TranscriptionFailed):
                if not measured:
                    raise
                if on_gpu:  # so many windows do not fit into its memory
                    largest = min(largest, measured[-1].n_windows)
                break
        return tuple(measured)

    finals, partials = times(final), times(partial)
    return EngineCosts(finals, partials, largest)


def _expected_s(n: int, measured: Sequence[BatchTime], *, on_gpu: bool) -> float:
    """Return the time that a batch of `n` windows may take, after smaller ones.

    A GPU may compute several windows in the time of one, so that time is all that its first batch shows. Later ones lie
    on a line. A CPU takes the time of each window.
    """
    last = measured[-1]
    if not on_gpu:
        return n * last.compute_s / last.n_windows
    if len(measured) == 1:
        return last.compute_s
    before = measured[-2]
    each_s = (last.compute_s - before.compute_s) / (last.n_windows - before.n_windows)
    return last.compute_s + (n - last.n_windows) * each_s


def _window(seconds: float, analyze: Analyze) -> Window:
    noise = np.random.default_rng(0).normal(0.0, 0.05, round(seconds * SAMPLE_RATE_HZ))
    # The number of streams is that of a busy server, which requests little effort.
    window = Window(noise.astype(np.float32), TranscriptionOptions(), effort="reduced")
    known = window.samples[: round((seconds - NEW_S) * SAMPLE_RATE_HZ)]
    return replace(window, analysis=analyze(replace(window, samples=known)))


def _forms(final: Window, partial: Window) -> list[Window]:
    """Return windows of all forms for which a GPU has kernels of their own: beams, words, times, known language."""
    options = TranscriptionOptions(language="en", words=True)
    preceding = PrecedingUtterance(partial.samples, "One two three.", speech_end_ms=2_500, next_start_ms=3_000)
    return [
        replace(partial, effort="full"),
        final,
        replace(final, effort="full", options=options),
        replace(final, effort="full", options=options, preceding=preceding),
    ]


@dataclass(frozen=True, slots=True)
class _Rehearsed:
    """A result of `generate`. Its text and its scores are such that it is not decoded again."""

    sequences_ids: list[list[int]]
    scores: tuple[float, ...] = (0.0,)
    no_speech_prob: float = 0.0


class RehearsedModel:
    """A model of CTranslate2 whose decoder does not end before it has written so many tokens.

    The tokens are then replaced by those of a text that no guard doubts. So nothing is decoded twice.

    Args:
        model: computes.
        n_tokens: tokens for each window, at most as many as `text` has.
        end_of_text: the token that the decoder must not write.
        text: tokens of words that do not repeat.
    """

    def __init__(self, model: Any, n_tokens: int, end_of_text: int, text: list[int]) -> None:
        self._model = model
        self._n_tokens = n_tokens
        self._end_of_text = end_of_text
        self._text = text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, features: Any, prompts: Sequence[list[int]], **options: Any) -> list[_Rehearsed]:
        """See `ctranslate2.models.Whisper.generate`."""
        options["suppress_tokens"] = [-1, self._end_of_text]
        # CTranslate2 generates min(max_length / 2, max_length - prompt_length) tokens.
        options["max_length"] = max(2 * self._n_tokens, self._n_tokens + max(map(len, prompts)))
        results = self._model.generate(features, prompts, **options)
        return [_Rehearsed([self._text[: len(result.sequences_ids[0])]]) for result in results]
