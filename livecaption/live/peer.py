"""The connection of a publisher, as its session and the registry see it."""

from typing import Protocol

from livecaption.errors import LivecaptionError
from livecaption.events import Event
from livecaption.live.event_log import Message
from livecaption.live.state import Ending


class Peer(Protocol):
    """Sends to the publisher.

    Attributes:
        last_received_s: monotonic time of the last message.
        may_idle: whether it may send nothing for any time, as long as it answers pings.
    """

    last_received_s: float
    may_idle: bool

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


class Socket(Protocol):
    """A connection of a publisher, with a session or before one.

    Attributes:
        protocol: the name of its protocol.
    """

    protocol: str

    def drain(self) -> None:
        """Shorten the time-outs, because the server stops; close where there is no session."""

    def send_away(self) -> None:
        """Close, so that the client resumes its session at another server if it can go on there."""

    def fail(self, error: LivecaptionError) -> None:
        """Refuse a client that has no session."""

    async def close(self) -> None:
        """Close with 1001 at once, also where something is still owed."""

    async def drop_if_dead(self) -> None:
        """Give up a publisher that is silent and answers no ping."""
