"""Servers that share a store need this to send each other what happens now, and is not worth storing.

A topic is the id of a session, or any other text. Texts may be lost, and a follower gets a sign where that may be. So
what must not be lost is in the store first.
"""

from collections.abc import Callable
from typing import Protocol

RENEW_S = 30.0
"""Time in s after which a server sends again what it follows. Longer: texts are sent for longer that nobody needs."""
FORGET_S = 75.0
"""Time in s after which a server follows no more that has not sent so: two and a half of its messages are lost."""


class Broadcast(Protocol):
    """The messages of this server to the others, and of them. Used by the event loop; nothing here raises."""

    def listen(self, asked: Callable[[str], None], changed: Callable[[str | None], None]) -> None:
        """Call `asked` with the topic that another server begins to follow, or follows after a loss.

        It needs to have the whole state then. Call `changed` with the topic of a `note_change` of another server. None:
        some may be lost before the next.
        """

    def follow(self, topic: str, receive: Callable[[str | None], None]) -> None:
        """Call `receive` with each text about this topic, until `unfollow`. None: some may be lost before the next."""

    def unfollow(self, topic: str) -> None:
        """Receive no more of this topic."""

    def ask(self, topic: str) -> None:
        """Ask the server that publishes a followed topic for its whole state."""

    def is_followed(self, topic: str) -> bool:
        """Return True if another server follows this topic."""

    async def publish(self, topic: str, take: Callable[[], str]) -> None:
        """Send a text to all that follow this topic. Return once it is sent or lost; then the next may be published.

        `take` returns the text. It is called when the text can be sent, so that the text has the newest events.
        """

    def note_change(self, topic: str) -> None:
        """Let all other servers notice that the store has something new about this topic, once they can be reached."""
