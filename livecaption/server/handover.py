"""Hand a client's connection over to another process of this server: the one that has what the client asks for.

    request here ─> whose session or room? who has a slot? ─> the process that has it
    descriptor of the connection, and the request as it came ─> there, as if the client had connected there

Nothing passes through this process from then on, unless the client uses TLS: then the other process gets one of a pair
of sockets, and `relay` has the other one.
"""

import asyncio
import json
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web

from livecaption.ipc import datagrams
from livecaption.server.config import Place
from livecaption.server.relay import FAREWELL_S, Relays

HANDED = "X-Livecaption-Handed-Over"
"""The header of a request that came from other processes: their numbers. It is not handed over to them again."""
MAX_HEAD_BYTES = 180_000
"""The largest request that is handed over, in one message of the socket. Bodies of these paths are at most 64 KB."""
FULL_S = 2.0
"""Time in s for which a full socket of another process is waited for. Longer: a client waits for a process that hangs.
Shorter: of many that come at once some are refused, though there is room."""
RELAYED = "relayed"
"""The name under which a transport has what is relayed about its client. That comes with the descriptor, and not in a
header, which a client could set."""
LEFT_OUT = {name.lower().encode() for name in (hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.EXPECT, HANDED)}


class Handover:
    """The connections that come from other processes, and go there. Used by the event loop."""

    def __init__(self, place: Place) -> None:
        self._directory = Path(place.directory)
        self._number, self._numbers = place.number, range(1, place.n + 1)
        self._socket: socket.socket | None = None
        self._relays = Relays()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, server: web.Server) -> None:
        """Take connections of other processes from now on. `server` serves them.

        Raises:
            OSError: the socket cannot be made.
        """
        path = self._path(self._number)
        path.unlink(missing_ok=True)  # of a process that was killed
        bound = datagrams.receiver(path)
        self._socket, self._server = bound, server
        asyncio.get_running_loop().add_reader(bound, self._receive, bound)

    def close(self) -> None:
        """Take no more connections."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    async def finish(self, within_s: float) -> None:
        """Close what is left of connections here, then wait until this process relays none.

        Another process may send its last captions by a relay. Two that relay to each other do not wait for each other.
        """
        if self._socket is not None:
            await self._server.shutdown(FAREWELL_S)
        await self._relays.ended(within_s)

    async def give(self, request: web.Request, number: int) -> bool:
        """Give the connection of a request to a process, if it can be given. Return False if nobody has taken it.

        After that the response that the handler returns reaches nobody. The body must be there: see `bodies`.
        """
        body = await request.read()
        transport = request.transport
        if transport is None:
            return False
        handed_by = given_by(request, self._numbers) | {self._number}
        as_it_came = _head(request, handed_by, len(body)) + body
        if transport.get_extra_info("ssl_object") is None:
            connection, relayed = (transport.get_extra_info(name) for name in ("socket", RELAYED))
            if not await self._send(number, relayed, as_it_came, connection):
                return False
            # This closes the descriptor of this process, and not the connection, which the other one has.
            transport.abort()
            return True
        relayed = {name: transport.get_extra_info(name) for name in ("peername", "sockname")}
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            return False
        is_taken = False
        try:
            with theirs:
                is_taken = await self._send(number, relayed, as_it_came, theirs)
        finally:
            if not is_taken:
                ours.close()
        if is_taken:
            self._relays.begin(request.protocol, ours)
        return is_taken

    async def _send(
        self, number: int, relayed: dict[str, Any] | None, request: bytes, connection: socket.socket | TransportSocket
    ) -> bool:
        message = json.dumps(relayed).encode() + b"\n" + request
        try:
            await datagrams.send(self._path(number), message, FULL_S, [connection])
        except OSError:
            return False
        return True

    def _receive(self, bound: socket.socket) -> None:
        try:
            message, descriptors, *_ = socket.recv_fds(bound, MAX_HEAD_BYTES, 1)
        except OSError:
            return
        for descriptor in descriptors:
            task = asyncio.ensure_future(self._serve(socket.socket(fileno=descriptor), message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, message: bytes) -> None:
        connection.setblocking(False)
        with suppress(OSError):
            transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(self._server, connection)
            about, _, request = message.partition(b"\n")
            if (relayed := json.loads(about)) is not None:
                _tell_about(transport, relayed)
            protocol.data_received(request)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.connections"


def given_by(request: web.Request, numbers: Iterable[int]) -> set[int]:
    """Return which of these processes have handed a request over. A client that makes some up reaches fewer."""
    named = request.headers.get(HANDED, "").split(",")
    return {number for number in numbers if str(number) in named}


def _tell_about(transport: asyncio.BaseTransport, relayed: dict[str, Any]) -> None:
    """Give a transport the names that it would have without a relay. There is no public setting."""
    names = {name: tuple(value) if isinstance(value, list) else value for name, value in relayed.items()}
    transport._extra.update(names, sslcontext=True, **{RELAYED: relayed})  # type: ignore[attr-defined]


def _head(request: web.Request, handed_by: Iterable[int], n_bytes: int) -> bytes:
    """Return the beginning of the request as it came, with its body in one piece."""
    headers: Iterable[tuple[bytes, bytes]] = [
        *(header for header in request.raw_headers if header[0].lower() not in LEFT_OUT),
        (HANDED.encode(), ",".join(map(str, handed_by)).encode()),
        *([(hdrs.CONTENT_LENGTH.encode(), str(n_bytes).encode())] if n_bytes else []),
    ]
    version = f"HTTP/{request.version.major}.{request.version.minor}"
    line = f"{request.method} {request.raw_path} {version}\r\n".encode("utf-8", "surrogateescape")
    return line + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n"
