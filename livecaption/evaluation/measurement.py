"""Compute all figures of a run from the clips and their captions. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from livecaption.evaluation.clips import Clip
from livecaption.evaluation.latency import (
    Received,
    final_latency_ms,
    first_partial_latency_ms,
    percentile,
    word_latencies,
)
from livecaption.evaluation.stability import Stability, stability
from livecaption.evaluation.wer import WordErrors, word_error_rate
from livecaption.events import Final


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of one clip. Latencies are in ms, and None if the caption never arrived.

    Attributes:
        word_errors: word errors of the transcript; None if there is no reference.
        final_latencies_ms: a latency for each end of speech.
        words_shown_ms, words_committed_ms: a latency for each word of the reference.
    """

    clip: str
    transcript: str = ""
    word_errors: WordErrors | None = None
    first_partial_latency_ms: float | None = None
    final_latencies_ms: tuple[float | None, ...] = ()
    words_shown_ms: tuple[float | None, ...] = ()
    words_committed_ms: tuple[float | None, ...] = ()
    stability: Stability = field(default_factory=Stability)


def measure(clip: Clip, received: Sequence[Received]) -> Measurement:
    """Compute all figures of one clip."""
    events = [item.event for item in received]
    transcript = " ".join(event.text for event in events if isinstance(event, Final) and event.text)
    word_errors = None
    if clip.reference is not None:
        word_errors = word_error_rate([clip.reference], [transcript], clip.language)
    first_partial_ms = None
    if clip.speech_start_ms is not None:
        first_partial_ms = first_partial_latency_ms(received, clip.speech_start_ms)
    words = word_latencies(received, clip.words)
    return Measurement(
        clip=clip.id,
        transcript=transcript,
        word_errors=word_errors,
        first_partial_latency_ms=first_partial_ms,
        final_latencies_ms=tuple(final_latency_ms(received, end_ms) for end_ms in clip.speech_ends_ms),
        words_shown_ms=words.shown,
        words_committed_ms=words.committed,
        stability=stability(events),
    )


def summarize(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Compute the figures of a whole run. Missing captions are in no percentile, and are counted separately."""
    errors = sum((m.word_errors for m in measurements if m.word_errors), WordErrors())
    stable = sum((m.stability for m in measurements), Stability())
    return {
        "clips": len(measurements),
        "wer": errors.rate,
        "reference_words": errors.reference_words,
        "first_partial_ms": spread(m.first_partial_latency_ms for m in measurements),
        "word_shown_ms": spread(latency for m in measurements for latency in m.words_shown_ms),
        "word_committed_ms": spread(latency for m in measurements for latency in m.words_committed_ms),
        "final_ms": spread(latency for m in measurements for latency in m.final_latencies_ms),
        "taken_back_per_final_word": stable.erasure,
        "committed_words_taken_back": stable.committed_taken_back,
    }


def spread(latencies_ms: Iterable[float | None]) -> dict[str, Any]:
    """Count the latencies (`n`) and the missing ones (`missing`), and compute the percentiles."""
    latencies_ms = list(latencies_ms)
    came = [latency for latency in latencies_ms if latency is not None]
    return {
        "n": len(came),
        "missing": len(latencies_ms) - len(came),
        "p50": percentile(came, 50),
        "p95": percentile(came, 95),
    }
