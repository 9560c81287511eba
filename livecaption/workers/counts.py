"""Counts of the work of all inference processes since the start, for the figures of the server."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.errors import EngineError
from livecaption.ipc.messages import Transcribed
from livecaption.recognition import Hypothesis
from livecaption.scheduling.request import Request


@dataclass(slots=True)
class WorkCounts:
    """Counts of requests and of their answers, since the start.

    Each requested partial is counted once: as answered, as failed, or in `QueueFigures`.

    Attributes:
        partials_failed, finals_failed: requests answered with an error.
        translations, translations_missing: translations of finals that were made, and that were not.
        runaways: texts of partials and finals that did not end or that repeated themselves.
        redone: finals that were decoded twice.
        audio_s: audio in the answered batches.
        compute_s: time that the workers took for the answered batches.
        batch_sizes: number of answered batches, by the number of requests in them.
    """

    partials_asked: int = 0
    partials_answered: int = 0
    partials_failed: int = 0
    finals_answered: int = 0
    finals_failed: int = 0
    translations: int = 0
    translations_missing: int = 0
    runaways: int = 0
    redone: int = 0
    audio_s: float = 0.0
    compute_s: float = 0.0
    batch_sizes: Counter[int] = field(default_factory=Counter)

    def answer(self, request: Request, answer: Hypothesis | EngineError) -> None:
        """Count the answer to a request."""
        if request.is_translation:
            has_text = isinstance(answer, Hypothesis) and answer.text != ""
            self.translations += has_text
            self.translations_missing += not has_text
        elif isinstance(answer, Hypothesis):
            self.partials_answered += not request.is_final
            self.finals_answered += request.is_final
            self.runaways += answer.runaway
            self.redone += answer.redone
        else:
            self.partials_failed += not request.is_final
            self.finals_failed += request.is_final

    def compute(self, requests: Sequence[Request], answer: Transcribed) -> None:
        """Count a batch that a worker has transcribed."""
        self.batch_sizes[len(requests)] += 1
        self.audio_s += sum(len(request.window.samples) for request in requests) / SAMPLE_RATE_HZ
        self.compute_s += answer.compute_s
