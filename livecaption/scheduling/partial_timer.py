"""When the open utterance is worth transcribing again."""

from dataclasses import dataclass

from livecaption.audio import samples_of
from livecaption.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PartialsConfig:
    """Attributes:
    interval_ms: new audio between two partials of an utterance. Shorter shows words sooner and
        costs a transcription each time; at 500 ms a word waits 250 ms on average.
    """

    interval_ms: int = 500

    def __post_init__(self) -> None:
        if not 100 <= self.interval_ms <= 10_000:
            raise ConfigError("partials.interval_ms must be from 100 to 10000")


class PartialTimer:
    """Says once for every interval of new audio in an utterance that a partial is due.

    Counts stream time, so a replay asks for the same partials at the same samples.
    """

    def __init__(self) -> None:
        self._counts_from = 0

    def begin(self, at: int) -> None:
        """Count from this sample of stream time: an utterance opened, or all up to here was asked for otherwise."""
        self._counts_from = at

    def due(self, at: int, interval_ms: int) -> bool:
        """Whether the audio up to `at` is worth a partial; the count starts anew if so."""
        if at - self._counts_from < samples_of(interval_ms):
            return False
        # From `at`, not from the time due: one large chunk asks for one partial, not for many.
        self._counts_from = at
        return True
