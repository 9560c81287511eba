"""Count recordings since the start, by the protocol in which they came. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from livecaption.errors import LivecaptionError


class RecordingCounts:
    """The counts of all recordings.

    Attributes:
        n_here: those that are received, wait or are transcribed now.
        n_accepted: those that were taken, also if they failed later.
        n_failed: those that were refused or failed, by the code that their client was sent.
        audio_ms: audio of recordings that was transcribed.
    """

    def __init__(self) -> None:
        self.n_here: Counter[str] = Counter()
        self.n_accepted: Counter[str] = Counter()
        self.n_failed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.audio_ms: Counter[str] = Counter()

    @contextmanager
    def accepted(self, protocol: str) -> Iterator[None]:
        """Count a recording that is here as long as the block runs."""
        self.n_accepted[protocol] += 1
        self.n_here[protocol] += 1
        try:
            yield
        finally:
            self.n_here[protocol] -= 1

    @contextmanager
    def failures(self, protocol: str) -> Iterator[None]:
        """Count the error that ends the block."""
        try:
            yield
        except LivecaptionError as error:
            self.n_failed[protocol][error.code] += 1
            raise
