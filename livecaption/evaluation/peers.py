"""Clients that do on the wire only what they are told: they never read, never answer, or send what no library would.

async with raw_peer(url, "v1/stream") as peer:
    await peer.send({"type": "start"})
    await peer.send_raw(frame(PING) * 1000)
"""

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""Opcodes of RFC 6455."""


class RawPeer:
    """A WebSocket client that does only what it is told; reads nothing unless asked, answers nothing by itself.

    Attributes:
        close_code: of the Close that `events` has met; None: there was none, or none yet.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self.close_code: int | None = None
        self._received = bytearray()

    async def send(self, payload: bytes | Mapping[str, Any]) -> None:
        """Send a message: text for a mapping (as JSON), else binary."""
        if isinstance(payload, bytes):
            await self.send_raw(frame(BINARY, payload))
        else:
            await self.send_raw(frame(TEXT, json.dumps(payload).encode()))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are; waits while the server does not read."""
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        """Some bytes; nothing at the end of the connection, however it came."""
        try:
            return await self._loop.sock_recv(self._socket, 65536)
        except ConnectionError:
            return b""

    async def receive_all(self) -> bytes:
        """All bytes up to the end of the connection."""
        received = b""
        while data := await self.receive():
            received += data
        return received

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Give each text message, from JSON, up to the end; answer pings and the Close as a good client does."""
        while True:
            while (taken := take_frame(self._received)) is not None:
                opcode, payload = taken
                if opcode == TEXT:
                    yield json.loads(payload)
                elif opcode == PING:
                    await self._answer(frame(PONG, payload))
                elif opcode == CLOSE:
                    self.close_code = struct.unpack_from(">H", payload)[0]
                    await self._answer(frame(CLOSE, payload[:2]))
            if not (data := await self.receive()):
                return
            self._received += data

    def end_by_reset(self) -> None:
        """Let the end of the connection be a reset, as of a host that has crashed."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _answer(self, data: bytes) -> None:
        with suppress(ConnectionError):  # what came before the end is still to be read
            await self.send_raw(data)


def frame(opcode: int, payload: bytes = b"", *, is_last: bool = True) -> bytes:
    """Make a frame of a client (RFC 6455, 5.2). A mask of zeros leaves the payload as it is."""
    length = len(payload)
    if length < 126:
        size = bytes([128 | length])
    elif length < 65536:
        size = struct.pack(">BH", 128 | 126, length)
    else:
        size = struct.pack(">BQ", 128 | 127, length)
    return bytes([is_last << 7 | opcode]) + size + bytes(4) + payload


def take_frame(received: bytearray) -> tuple[int, bytes] | None:
    """Take a server's next frame, which has no mask, out of what was received: opcode and payload. None: not all."""
    if len(received) < 2:
        return None
    start, length = 2, received[1]
    if length >= 126:
        start = 4 if length == 126 else 10
        length = int.from_bytes(received[2:start], "big")
    if len(received) < start + length:
        return None
    opcode, payload = received[0] & 15, bytes(received[start : start + length])
    del received[: start + length]
    return opcode, payload


@asynccontextmanager
async def raw_connection(url: str, receive_buffer_bytes: int | None = None) -> AsyncIterator[socket.socket]:
    """A bare TCP connection to the server."""
    parts = urlsplit(url)
    with socket.socket() as connection:
        connection.setblocking(False)
        if receive_buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
        yield connection


@asynccontextmanager
async def raw_peer(
    url: str, path: str = "v1/stream", receive_buffer_bytes: int | None = None
) -> AsyncIterator[RawPeer]:
    """A peer after the upgrade of `<url><path>`.

    Args:
        url: of the server, with a slash at its end.
        path: what is upgraded, with its query.
        receive_buffer_bytes: a small one of its own makes not reading soon felt.

    Raises:
        ConnectionError: the server does not upgrade.
    """
    async with raw_connection(url, receive_buffer_bytes) as connection:
        loop = asyncio.get_running_loop()
        key = base64.b64encode(os.urandom(16)).decode()
        parts = urlsplit(url)
        request = (
            f"GET {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        await loop.sock_sendall(connection, request.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            byte = await loop.sock_recv(connection, 1)
            if not byte:
                break
            answer += byte
        if not answer.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"no upgrade: {answer.decode(errors='replace')}")
        yield RawPeer(connection)


def close_codes(received: bytes) -> list[int]:
    """The code of the Close frame that ends what a server has sent, if one does."""
    # Only short frames are looked for: a Close has at most 125 bytes.
    for start in range(len(received) - 4, max(-1, len(received) - 130), -1):
        if received[start] == 128 | CLOSE and received[start + 1] == len(received) - start - 2:
            return [struct.unpack_from(">H", received, start + 2)[0]]
    return []
