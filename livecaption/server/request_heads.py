"""Accept a request with several `User-Agent` headers, of which the first counts.

aiohttp answers 400 to it since 3.13.4 (its pull request 12240), before any handler runs. `websockets` before 15 sends
two where a program sets its own (its issue 1583), as the programs of Deepgram and AssemblyAI do. All else stays as
strict as aiohttp's parser is.
"""

import asyncio
import re
from typing import Any, Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

MAX_HEAD_BYTES = 16 * 1024
"""The longest head that is looked at. A longer one goes to the parser as it is, which refuses it."""
END = b"\r\n\r\n"
# A line that the next one continues (RFC 9112, 5.2) stays, and the parser refuses it.
USER_AGENT = re.compile(rb"(?<=\r\n)user-agent:[^\r\n]*\r\n(?![ \t])", re.IGNORECASE)


def with_one_user_agent(head: bytes) -> bytes:
    """Return the head of a request, up to its empty line, without all `User-Agent` headers but the first."""
    first = USER_AGENT.search(head)
    if first is None:
        return head
    return head[: first.end()] + USER_AGENT.sub(b"", head[first.end() - 2 :])[2:]


class _Connection(RequestHandler):
    """A connection of aiohttp that looks at the head of its first request: a handshake is the first one."""

    __slots__ = ("_head",)

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._head: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            head, end, rest = (self._head + data).partition(END)
            if not end and len(head) <= MAX_HEAD_BYTES:
                self._head = head
                return
            self._head = None
            data = with_one_user_agent(head + end[:2]) + end[2:] + rest
        super().data_received(data)


class _Server(Server):
    """A server of aiohttp whose connections are `_Connection`s."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    @classmethod
    def like(cls, other: Server) -> Self:
        """Make one with the settings of another server."""
        loop = asyncio.get_running_loop()
        return cls(other.request_handler, request_factory=other.request_factory, loop=loop, **other._kwargs)


class Runner(web.AppRunner):
    """A runner of an application whose server is patient with such requests."""

    async def _make_server(self) -> Server:
        return _Server.like(await super()._make_server())
