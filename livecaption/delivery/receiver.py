"""The other end of a sink, as the sink sees it. Types only."""

from typing import Protocol

from livecaption.delivery.outgoing import Numbered

TIMEOUT_S = 5.0
"""Time that one attempt may take. Longer: captions behind a stuck one are late. Shorter: distant receivers fail."""


class DeliveryFailed(Exception):
    """An attempt has failed. The message is for people, and has no address, no secret and no caption.

    Attributes:
        may_have_arrived: whether the receiver may have the text all the same.
    """

    def __init__(self, problem: str, *, may_have_arrived: bool) -> None:
        super().__init__(problem)
        self.may_have_arrived = may_have_arrived


class Receiver(Protocol):
    """A service that takes texts, one after the other."""

    async def first_seq(self) -> int:
        """Return the number of the next text.

        Raises:
            DeliveryFailed: it is unknown now.
        """

    async def deliver(self, text: Numbered) -> None:
        """Send a text.

        Raises:
            DeliveryFailed: the receiver does not have it, or it is not known whether it has.
        """

    async def close(self) -> None:
        """End the connection."""
