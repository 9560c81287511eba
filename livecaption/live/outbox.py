"""Messages on their way to one peer, each with a deadline.

aiohttp's `send_str` waits without bound for a peer that stopped reading. So every send here has a deadline of its own,
and after it the connection is dropped.
"""

import asyncio
import logging
from collections import deque

from livecaption.live.transport import Transport

MAX_WAITING_CHARACTERS = 256 * 1024
"""Some minutes of captions. A reader further behind than that does not read them any more."""

logger = logging.getLogger(__name__)


class Outbox:
    """The messages that wait for one peer. Used by the event loop; `run` is its one sender."""

    def __init__(self, socket: Transport) -> None:
        self._socket = socket
        self._waiting: deque[str | bytes] = deque()
        self.waiting_characters = 0
        """The characters of all messages that were offered and are not being sent yet."""
        self._wake = asyncio.Event()
        self._finishing = False
        self._send_timeout_s = socket.limits.send_timeout_s
        self._sending: asyncio.Timeout | None = None
        self.aborted = False
        """True if nothing reaches the peer any more: it left, or was aborted because it did not read."""

    def offer(self, message: str | bytes) -> bool:
        """Queue a message. Return False if the peer is gone, or is too far behind and cut off."""
        if self.aborted or self._finishing:
            return False
        self._waiting.append(message)
        self.waiting_characters += len(message)
        self._wake.set()
        if self.waiting_characters > MAX_WAITING_CHARACTERS:
            self.abort("it does not read")
            return False
        return True

    async def run(self) -> None:
        """Send the offered messages in order, until `finish` and all are sent, or the peer is cut off."""
        while not self.aborted:
            if self._waiting:
                message = self._waiting.popleft()
                self.waiting_characters -= len(message)
                await self._send(message)
            elif self._finishing:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def finish(self) -> None:
        """Take no more messages; `run` returns once all are sent."""
        self._finishing = True
        self._wake.set()

    def shorten_timeouts(self) -> None:
        """Give each message a second only, the one on its way included, because the server stops."""
        self._send_timeout_s = self._socket.limits.close_timeout_s
        if self._sending is not None and not self._sending.expired():
            self._sending.reschedule(asyncio.get_running_loop().time() + self._send_timeout_s)

    async def close(self, code: int, reason: str, *, await_answer: bool = True) -> None:
        """Do the close handshake, for at most a second; then nothing is left of the connection."""
        await_answer = await_answer and not self.aborted
        if not await self._socket.close(code, reason, await_answer=await_answer) and await_answer:
            logger.info("peer did not answer the close")

    def discard(self) -> None:
        """Send nothing more, because the peer has left."""
        self.aborted = True
        self._waiting.clear()
        self.waiting_characters = 0
        self._wake.set()

    def abort(self, reason: str) -> None:
        """Drop the connection without waiting for anything."""
        if not self.aborted:
            self.discard()
            logger.info("peer cut off: %s", reason)
            self._socket.abort()

    async def _send(self, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s) as self._sending:
                await self._socket.send(message)
        except TimeoutError:
            self.abort(f"it did not read for {self._send_timeout_s:.0f} s")
        except ConnectionError:
            self.discard()  # the peer left; the handler notices it by itself
        finally:
            self._sending = None
