"""The events of one session, numbered, to everybody who reads them."""

from livecaption.events import Event
from livecaption.server.outbox import Outbox
from livecaption.server.protocols import native


class Hub:
    """Counts the events of a session from 1 without gaps and offers each to every reader.

    A reader that cannot follow hurts only itself: its outbox refuses, and is detached.
    """

    def __init__(self) -> None:
        self._last_seq = 0
        self._readers: set[Outbox] = set()

    def attach(self, reader: Outbox) -> None:
        """From the next event on, `reader` gets everything."""
        self._readers.add(reader)

    def publish(self, event: Event) -> None:
        """Number the event and hand it to all readers. Never blocks."""
        self._last_seq += 1
        message = native.encode(event, self._last_seq)
        for reader in list(self._readers):
            if not reader.offer(message):
                self._readers.discard(reader)
