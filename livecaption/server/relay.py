"""Relay what a client with TLS and another process of this server send each other.

    client ─TLS─> this process decrypts ─pair of sockets─> the process that has what the client asks for

The state of TLS is in the memory of one process, so this one stays between them for the life of the connection. It
holds little: where one side does not read, the other one is not read either.
"""

import asyncio
import socket
from contextlib import suppress

from aiohttp.web_protocol import RequestHandler

FAREWELL_S = 1.0
"""Time in s that relays may take beyond the time for the drain: the other process sends its close codes meanwhile."""


class _End(asyncio.Protocol):
    """One of the two connections. What comes from it goes to the other one."""

    transport: asyncio.Transport
    other: "_End"

    def __init__(self) -> None:
        self.is_lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost.set()
        if not self.other.transport.is_closing():
            self.other.transport.close()  # what was sent before still arrives


class Relays:
    """The connections that this process relays. Used by the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, handler: RequestHandler, ours: socket.socket) -> None:
        """Relay a connection, whose handler sees from now on what it sees when a client has left.

        Args:
            handler: has the connection, which is open, and has read a request from it.
            ours: this end of the pair of sockets.
        """
        transport = handler.transport
        assert transport is not None  # because it is open
        client, sibling = _End(), _End()
        client.other, sibling.other = sibling, client
        client.transport = transport
        handler.transport = None  # otherwise it would be closed
        handler.connection_lost(None)
        transport.pause_reading()
        transport.set_protocol(client)
        task = asyncio.ensure_future(_relay(client, sibling, ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ended(self, within_s: float) -> None:
        """Wait until no connection is relayed, for a while. Those that are left are closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s + FAREWELL_S):
                await asyncio.gather(*self._tasks)


async def _relay(client: _End, sibling: _End, ours: socket.socket) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: sibling, ours)
        client.transport.resume_reading()
        await sibling.is_lost.wait()
        await client.is_lost.wait()
    finally:
        client.transport.abort()
