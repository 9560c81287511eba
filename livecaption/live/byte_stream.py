"""One TCP connection of a peer that may do anything: a `Transport` for protocols that are not spoken over WebSockets.

The limits are those of `websocket`: a peer that sends many messages is read more slowly, the loop is given to others,
and the close takes a second at most. TCP has no ping that every client answers, so the kernel looks for dead peers.

A peer may end its own direction alone, as `nc -N` does, and still read.
"""

import asyncio
import socket
import time
from contextlib import suppress
from typing import Protocol

from aiohttp import WSMessage, WSMsgType

from livecaption.live.allowance import Allowance
from livecaption.live.config import SocketLimits
from livecaption.live.turn import Turn

READ_BYTES = 16 * 1024
"""Bytes that are taken at a time. More: larger buffers. Less: more turns for a large message."""
N_PROBES = 3
"""Unanswered probes of the kernel after which a silent peer is gone."""


class Framing(Protocol):
    """Cuts a stream of bytes into messages."""

    def push(self, data: bytes) -> None:
        """Take bytes."""

    def next_message(self) -> bytes | None:
        """Return the next message, or None if it is not complete.

        Raises:
            ClientError: the bytes are not of the protocol; no message follows.
        """


class ByteStream:
    """A TCP connection of the server, from its beginning to its end.

    Args:
        reader, writer: the two directions of the connection.
        framing: cuts what is read into messages.
        limits: its time-outs, and the rate of messages.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: Framing, limits: SocketLimits
    ) -> None:
        self.limits = limits
        self._reader = reader
        self._writer = writer
        self._framing = framing
        self._allowance = Allowance(limits.messages_per_s, limits.messages_burst, time.monotonic())
        self._turn = Turn()
        self._returned_s = time.monotonic()
        self._is_read = False
        self._peer_is_done = False
        _look_for_dead_peer(writer, limits.heartbeat_s)

    async def receive(self) -> WSMessage:
        """Wait for the next message, which is binary. Another type is the last one: see `is_half_open`.

        Raises:
            ClientError: the bytes are not of the protocol.
        """
        now_s = time.monotonic()
        wait_s = self._allowance.use(1, now_s)
        if wait_s:
            await asyncio.sleep(wait_s)
        elif self._turn.is_over(now_s - self._returned_s):
            await asyncio.sleep(0)
        while (message := self._framing.next_message()) is None:
            data = await self._read()
            if not data:
                return WSMessage(WSMsgType.CLOSED, None, None)
            self._framing.push(data)
        self._returned_s = time.monotonic()
        return WSMessage(WSMsgType.BINARY, message, None)

    @property
    def is_half_open(self) -> bool:
        """True if the peer sends nothing more. A write shows whether it has left, or still reads."""
        return self._peer_is_done and not self._writer.is_closing()

    async def send(self, message: str | bytes) -> None:
        """See `Transport`."""
        self._writer.write(message.encode() if isinstance(message, str) else message)
        await self._writer.drain()

    async def close(self, code: int, reason: str, *, await_answer: bool = True) -> bool:
        """Close within `close_timeout_s`. Code and reason are of WebSockets, and are not sent.

        What the peer still sends is dropped until it closes too. Otherwise the system would reset the connection, and
        the peer might lose the last messages.
        """
        del code, reason
        try:
            async with asyncio.timeout(self.limits.close_timeout_s):
                if not self._peer_is_done:
                    self._writer.write_eof()
                while await_answer and not (self._peer_is_done or self._is_read):
                    await self._read()
                    await asyncio.sleep(0)
        except (TimeoutError, OSError):
            pass
        transport = self._writer.transport
        transport.close()
        if transport.get_write_buffer_size():
            transport.abort()  # closing waits until the peer has read the rest
        return self._peer_is_done

    async def answers(self, timeout_s: float) -> bool:
        """Return False if the connection is lost already. Nothing is sent, so nothing is awaited."""
        del timeout_s
        return not self._writer.is_closing()

    def abort(self) -> None:
        """See `Transport`."""
        self._peer_is_done = True
        self._writer.transport.abort()

    async def _read(self) -> bytes:
        """Return more bytes; empty: no more come."""
        self._is_read = True
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError:
            data = b""
        finally:
            self._is_read = False
        self._peer_is_done = not data
        return data


def _look_for_dead_peer(writer: asyncio.StreamWriter, heartbeat_s: float) -> None:
    """Let the kernel probe a silent peer, so that one whose network is gone does not hold its slot."""
    connection = writer.get_extra_info("socket")
    interval_s = max(1, round(heartbeat_s))
    with suppress(OSError):  # it may be closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", interval_s), ("TCP_KEEPINTVL", interval_s), ("TCP_KEEPCNT", N_PROBES)):
            if hasattr(socket, name):  # each system has its own
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
