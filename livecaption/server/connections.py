"""The connections of clients over HTTP: aiohttp's, but patient with old clients, and not with clients that do not read.

aiohttp sends a response without a deadline. It also waits without one to close a connection with bytes that are not
sent. So a client that reads nothing would hold a descriptor for ever.
"""

import asyncio
from typing import Any, Self

from aiohttp import web, web_fileresponse
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from livecaption.server.request_heads import END, MAX_HEAD_BYTES, with_one_user_agent

LOOKS = 100
"""Looks in the time-out of a client that does not read. Each sees only whether fewer bytes wait than at the last one.
Fewer: what is written meanwhile hides that the client reads. More: they cost time."""


class _Connection(RequestHandler):
    """A connection that accepts several `User-Agent` headers, and is aborted while its client reads nothing.

    Only the head of its first request is looked at, because a handshake is the first one.
    """

    __slots__ = ("_head", "_unread_timeout_s", "_unread_timer")

    def __init__(self, *arguments: Any, unread_timeout_s: float, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._head: bytes | None = b""
        self._unread_timeout_s = unread_timeout_s
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        # Writing is paused as long as bytes wait here. asyncio's TLS understands 0 as a pause without end.
        transport.set_write_buffer_limits(high=1)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            head, end, rest = (self._head + data).partition(END)
            if not end and len(head) <= MAX_HEAD_BYTES:
                self._head = head
                return
            self._head = None
            data = with_one_user_agent(head + end[:2]) + end[2:] + rest
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        if (transport := self.transport) is not None:  # also when it closes, which waits for the bytes
            self._look_later(transport, n_waiting_of(transport), 0)

    def resume_writing(self) -> None:
        self._stop_timer()
        super().resume_writing()

    def _look_later(self, transport: asyncio.Transport, n_waiting: int, n_idle: int) -> None:
        """Look later whether the client reads. `n_idle`: looks since it has read something."""
        self._unread_timer = self._loop.call_later(
            self._unread_timeout_s / LOOKS, self._look, transport, n_waiting, n_idle
        )

    def _look(self, transport: asyncio.Transport, n_waited: int, n_idle: int) -> None:
        n_waiting = n_waiting_of(transport)
        n_idle = 0 if n_waiting < n_waited else n_idle + 1
        if n_idle < LOOKS:
            self._look_later(transport, n_waiting, n_idle)
        else:
            transport.abort()

    def _stop_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


def n_waiting_of(transport: asyncio.Transport) -> int:
    """Return the number of bytes that wait. TLS does not count those of the transport below, and has no name for it."""
    below: asyncio.Transport | None = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (0 if below is None else below.get_write_buffer_size())


class _Server(Server):
    """A server of aiohttp whose connections are `_Connection`s."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    @classmethod
    def like(cls, other: Server, **settings: Any) -> Self:
        """Make one with the settings of another server, and these settings of connections."""
        loop = asyncio.get_running_loop()
        return cls(other.request_handler, request_factory=other.request_factory, loop=loop, **other._kwargs, **settings)


class Runner(web.AppRunner):
    """A runner of an application whose server has such connections."""

    def __init__(self, app: web.Application, *, unread_timeout_s: float, **settings: Any) -> None:
        """Run an application.

        Args:
            unread_timeout_s: time after which a client that has read nothing of what waits for it is cut off.
        """
        super().__init__(app, **settings)
        self._unread_timeout_s = unread_timeout_s

    async def _make_server(self) -> Server:
        # Otherwise files go past the transport. Then no deadline holds for them, and aiohttp logs a fault of the server
        # for each client that leaves meanwhile.
        web_fileresponse.NOSENDFILE = True  # type: ignore[misc]
        return _Server.like(await super()._make_server(), unread_timeout_s=self._unread_timeout_s)
