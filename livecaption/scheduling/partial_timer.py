"""Decide when the open utterance is transcribed again."""

from dataclasses import dataclass

from livecaption.audio import samples_of
from livecaption.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PartialsConfig:
    """Settings of partials.

    Attributes:
        interval_ms: new audio between two partials of an utterance, in ms. Shorter: words are shown sooner, and each
            time costs a transcription. Longer: a word waits for half of it on average.
    """

    interval_ms: int = 500

    def __post_init__(self) -> None:
        if not 100 <= self.interval_ms <= 10_000:
            raise ConfigError("partials.interval_ms must be from 100 to 10000")


class PartialTimer:
    """Reports once for every interval of new audio in an utterance that a partial is due.

    It counts stream time, so a replay requests the same partials at the same samples.
    """

    def __init__(self) -> None:
        self._counts_from = 0

    def begin(self, at: int) -> None:
        """Count from this sample of stream time, because an utterance began or another request covers the audio."""
        self._counts_from = at

    def due(self, at: int, interval_ms: int) -> bool:
        """Return whether a partial of the audio up to `at` is due. If so, the count begins again at `at`."""
        if at - self._counts_from < samples_of(interval_ms):
            return False
        # From `at`, not from the time when it was due: one large chunk causes one partial, not many.
        self._counts_from = at
        return True
