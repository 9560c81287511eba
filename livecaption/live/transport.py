"""The transport of a peer's messages, as its connection sees it: a WebSocket, or a byte stream that is cut."""

from typing import Protocol

from aiohttp import WSMessage

from livecaption.live.config import SocketLimits


class Transport(Protocol):
    """Carries whole messages, reads fairly, and closes in time.

    Attributes:
        limits: its time-outs, and the rate of messages.
    """

    limits: SocketLimits

    @property
    def is_half_open(self) -> bool:
        """True if the peer sends nothing more, and may still read."""

    async def receive(self) -> WSMessage:
        """Wait for the next message: text or binary; any other type is the last one.

        Raises:
            ClientError: no more messages can be read, because of what the peer has sent.
        """

    async def send(self, message: str | bytes) -> None:
        """Send a message; waits without bound for a peer that does not read.

        Raises:
            ConnectionError: the peer is gone.
        """

    async def close(self, code: int, reason: str, *, await_answer: bool = True) -> bool:
        """Close within `close_timeout_s`; nothing is left. Return whether the peer has closed too, or has left."""

    async def answers(self, timeout_s: float) -> bool:
        """Return False if the peer is certainly gone."""

    def abort(self) -> None:
        """Drop the connection without waiting for anything."""
