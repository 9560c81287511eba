"""Transcribe a batch in smaller ones if its memory is short."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from livecaption.engine.engine import Engine
from livecaption.errors import OutOfMemory
from livecaption.recognition import Hypothesis, Window

MEMORY_WAIT_S = 0.5
"""Time in s after which a single window is tried once more, because another program's peak may be over."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to a batch.

    Attributes:
        hypotheses: one for each window, in order; None for a window that failed alone.
        fits: number of windows that had enough memory together, if all of them did not.
    """

    hypotheses: tuple[Hypothesis | None, ...]
    fits: int | None = None


def transcribe(engine: Engine, windows: Sequence[Window]) -> Answers:
    """Transcribe a batch. Where memory is short, halve it and go on.

    Raises:
        OutOfMemory: there is not enough for any single window.
        EngineError: see `Engine.transcribe`.
    """
    hypotheses: list[Hypothesis | None] = []
    size, fits, waited = len(windows), None, False
    while len(hypotheses) < len(windows):
        part = windows[len(hypotheses) :][:size]
        try:
            hypotheses += engine.transcribe(part)
        except OutOfMemory as error:
            if len(part) > 1:
                size = fits = len(part) // 2
                logger.warning("memory is short for a batch of %d: %s", len(part), error.message)
            elif not waited:
                waited = True
                time.sleep(MEMORY_WAIT_S)
            elif not any(hypotheses):
                raise
            else:
                hypotheses.append(None)
    if n_failed := hypotheses.count(None):
        logger.warning("%d of %d windows failed: their numbers were NaN, or memory was short", n_failed, len(windows))
    return Answers(tuple(hypotheses), fits)
