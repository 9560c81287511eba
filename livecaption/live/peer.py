"""The connection of a session's publisher, as the session sees it."""

from typing import Protocol

from livecaption.events import Event
from livecaption.live.event_log import Message
from livecaption.live.state import Ending


class Peer(Protocol):
    """Sends to the publisher.

    Attributes:
        last_received_s: monotonic time of the last message.
    """

    last_received_s: float

    @property
    def is_gone(self) -> bool:
        """True if nothing reaches the peer any more."""

    def deliver(self, message: Message) -> None:
        """Send an event of the session."""

    def send(self, event: Event) -> None:
        """Send an event that concerns this connection alone, and therefore has no number."""

    def tick(self, stream_ms: int) -> None:
        """Let the dialect do its part at this stream time. Called once a second."""

    def finish(self, ending: Ending) -> None:
        """Take nothing more; close once all that was sent is out."""

    def connection_lost(self, *, clean: bool = False) -> None:
        """Take the connection for lost: nothing reaches the peer any more."""
