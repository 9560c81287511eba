"""One WebSocket of a peer that may do anything: read fairly, closed in time.

aiohttp answers pings, and reads on behind a Close, without limits and without giving way to others. So both are done
here, and nothing else reads from a socket or closes one:

    messages    a limited number a second; a peer that sends more is read more slowly (TCP does the rest), not cut off;
                a large one counts as several
    pings       count as messages, and are answered here
    the loop    is given to others after each 2 ms
    the close   takes a second at most; messages that still come are dropped
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from types import MappingProxyType

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from livecaption.errors import MessageTooBig
from livecaption.live.allowance import Allowance, extra_messages
from livecaption.live.config import SocketLimits
from livecaption.live.turn import Turn

DATA = (WSMsgType.BINARY, WSMsgType.TEXT)
"""Types of messages that have data of the peer. A constant, because reading members of an Enum takes time in
Python 3.11."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
MAX_REASON_BYTES = 120
"""RFC 6455, 5.5: a control frame has 125 bytes at most, of which the code takes two."""


class _Response(web.WebSocketResponse):
    """The response of aiohttp, but patient with a peer that is not being read: its pong cannot come."""

    is_read = False
    has_waited = False
    """True if data has come while it is read, so others had the loop since then."""

    def _on_data_received(self) -> None:
        """Put off the next ping. That of aiohttp does the same in a callback of the loop, one for each message."""
        self.has_waited = self.is_read
        if self._heartbeat is None or self._heartbeat_cb is None or self._pong_response_cb is not None:
            self._reset_heartbeat()
        else:
            self._heartbeat_when = time.monotonic() + self._heartbeat  # which the callback of the heartbeat looks at

    def _pong_not_received(self) -> None:
        if self.is_read:
            super()._pong_not_received()
        else:
            self._reset_heartbeat()


class WebSocket:
    """A WebSocket of the server, from the upgrade to its end.

    Args:
        max_message_bytes: aiohttp ends the connection of a peer that sends a larger message.
        limits: its time-outs, and the rate of messages.
        protocols: the subprotocols that are accepted, if the peer offers them.
        headers: further headers of the answer to the upgrade.
    """

    is_half_open = False  # a Close is for both directions

    def __init__(
        self,
        request: web.Request,
        max_message_bytes: int,
        limits: SocketLimits,
        protocols: Collection[str] = (),
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self.limits = limits
        self.response = _Response(
            protocols=protocols,
            max_msg_size=max_message_bytes,
            compress=False,  # PCM does not compress, and each context costs 64 KiB
            heartbeat=limits.heartbeat_s,
            timeout=limits.close_timeout_s,
            autoclose=False,
            autoping=False,
        )
        self.response.headers.update(headers)
        self._request = request
        self._transport = request.transport
        self._allowance = Allowance(limits.messages_per_s, limits.messages_burst, time.monotonic())
        self._turn = Turn()
        self._returned_s = 0.0
        self._peer_is_done = False
        self._heard = asyncio.Event()

    async def open(self) -> None:
        """Answer the upgrade."""
        await self.response.prepare(self._request)
        self._returned_s = time.monotonic()

    async def receive(self) -> WSMessage:
        """Wait for the next message: text or binary; any other type is the last one, and shows how the peer left.

        Raises:
            MessageTooBig: the peer has sent more than `max_message_bytes`; the connection is closed.
        """
        while True:
            now_s = time.monotonic()
            if wait_s := self._allowance.use(1, now_s):
                await asyncio.sleep(wait_s)
            elif self._turn.is_over(now_s - self._returned_s):
                await asyncio.sleep(0)
            self.response.has_waited = False
            self.response.is_read = True
            try:
                message: WSMessage = await self.response.receive()
            finally:
                self.response.is_read = False
            self._returned_s = time.monotonic()
            if self.response.has_waited:
                self._turn.begin()
            self._heard.set()
            if message.type in DATA:
                self._allowance.use(extra_messages(message.data), self._returned_s)  # for which the next one waits
                return message
            if message.type is WSMsgType.PONG or (message.type is WSMsgType.PING and await self._answered(message)):
                continue
            if isinstance(message.data, WebSocketError) and message.data.code == WSCloseCode.MESSAGE_TOO_BIG:
                self._peer_is_done = True  # aiohttp has closed with that code
                raise MessageTooBig("a message was too large to be read")
            self._peer_is_done = True
            return WSMessage(WSMsgType.CLOSED, None, None) if message.type is WSMsgType.PING else message

    async def send(self, message: str | bytes) -> None:
        """Send a text or binary message; waits without bound for a peer that does not read.

        Raises:
            ConnectionError: the peer is gone.
        """
        if isinstance(message, str):
            await self.response.send_str(message)
        else:
            await self.response.send_bytes(message)

    async def close(self, code: int, reason: str, *, await_answer: bool = True) -> bool:
        """Close with this code, or answer the peer's Close, within `close_timeout_s`; no connection is left.

        No answer is awaited while somebody is in `receive`. Returns whether the peer has sent its Close, or has left.
        """
        try:
            async with asyncio.timeout(self.limits.close_timeout_s):
                if self._peer_is_done:
                    await self.response.close(code=code, message=reason.encode()[:MAX_REASON_BYTES])
                else:
                    # Not `response.close`: it reads on without giving way.
                    payload = code.to_bytes(2, "big") + reason.encode()[:MAX_REASON_BYTES]
                    await self.response.send_frame(payload, WSMsgType.CLOSE)
                    while await_answer and not (self._peer_is_done or self.response.is_read):
                        await self.receive()
        except (TimeoutError, ConnectionError):
            pass
        if self._transport is not None:
            if not self._transport.is_closing():  # one of TLS that is closed twice cannot be asked for its buffer
                self._transport.close()
            if self._transport.get_write_buffer_size():
                self._transport.abort()  # closing waits until the peer has read the rest
        return self._peer_is_done

    async def answers(self, timeout_s: float) -> bool:
        """Send a ping. Return False if nothing comes from the peer in this time, although it is being read."""
        self._heard.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self.response.ping()
                await self._heard.wait()
        except TimeoutError:
            return not self.response.is_read
        except ConnectionError:
            return False
        return True

    def abort(self) -> None:
        """Drop the connection without waiting for anything."""
        self._peer_is_done = True
        if self._transport is not None:
            self._transport.abort()

    async def _answered(self, ping: WSMessage) -> bool:
        """Send a pong; return False if the peer is gone."""
        try:
            async with asyncio.timeout(self.limits.send_timeout_s):
                await self.response.pong(ping.data)
        except TimeoutError:
            self.abort()
        except ConnectionError:
            pass
        else:
            return True
        return False
