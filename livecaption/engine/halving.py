"""Transcribe a batch for which memory was short in smaller ones."""

import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from livecaption.engine.engine import Engine
from livecaption.errors import OutOfMemory
from livecaption.recognition import Hypothesis, Window

MEMORY_WAIT_S = 0.5
"""Time in s after which a single window is tried once more, because another program's peak may be over."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchAnswers:
    """The answers to a batch.

    Attributes:
        hypotheses: one for each window, in order; None for a window that failed alone.
        fits: number of windows that had enough memory together, if all of them did not.
    """

    hypotheses: tuple[Hypothesis | None, ...]
    fits: int | None = None


def transcribe(engine: Engine, windows: Sequence[Window], shortage: str) -> BatchAnswers:
    """Transcribe a batch in smaller ones: half as large, and again half where memory is still short.

    Call it outside the handler of the error, because its traceback keeps what the failed try made on the GPU.

    Args:
        engine: transcribes.
        windows: the batch, for which memory was short.
        shortage: the message of that error.

    Raises:
        OutOfMemory: there is not enough for any single window.
        EngineError: see `Engine.transcribe`.
    """
    hypotheses: list[Hypothesis | None] = []
    part, size, n_short, waited = windows, len(windows), 0, False
    fits = None
    problem: str | None = shortage
    while problem is not None or len(hypotheses) < len(windows):
        if problem is not None:
            shortage = problem
            if len(part) > 1:
                size = fits = len(part) // 2
                logger.warning("memory is short for a batch of %d: %s", len(part), shortage)
            elif not waited:
                waited = True
                time.sleep(MEMORY_WAIT_S)
            else:
                hypotheses.append(None)
                n_short += 1
        part = windows[len(hypotheses) :][:size]
        problem = _extend(hypotheses, engine, part) if part else None
    if n_short == len(windows):
        raise OutOfMemory(shortage)
    if n_failed := hypotheses.count(None):
        logger.warning("%d of %d windows failed: their numbers were NaN, or memory was short", n_failed, len(windows))
    return BatchAnswers(tuple(hypotheses), fits)


def freed(error: OutOfMemory) -> str:
    """Free what a failed try has made, and return why memory was short.

    Its frames have it. Without this, some versions of Python keep them beyond the handler of the error.
    """
    failed: BaseException | None = error
    while failed is not None:
        traceback.clear_frames(failed.__traceback__)
        failed = failed.__cause__
    return error.message


def _extend(hypotheses: list[Hypothesis | None], engine: Engine, part: Sequence[Window]) -> str | None:
    """Transcribe a part, and add its hypotheses. Return why its memory was short; None: it was not."""
    try:
        hypotheses += engine.transcribe(part)
    except OutOfMemory as error:
        return freed(error)
    return None
