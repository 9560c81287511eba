"""Clients without a WebSocket library. They can leave messages unread and pings unanswered, and send invalid frames.

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
"""The opcodes of RFC 6455."""


class RawPeer:
    """A WebSocket client that does nothing on its own: each read, answer and frame is an explicit call.

    Attributes:
        close_code: code of the Close that `events` has received; None: none was received yet.
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
        """Send bytes unchanged. Wait while the server does not read."""
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        """Receive some bytes, or none at the end of the connection, even if it was reset."""
        try:
            return await self._loop.sock_recv(self._socket, 65536)
        except ConnectionError:
            return b""

    async def receive_all(self) -> bytes:
        """Receive all bytes up to the end of the connection."""
        received = b""
        while data := await self.receive():
            received += data
        return received

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each text message, parsed from JSON, up to the end. Answer pings and the Close as a client must."""
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
        """Make the connection end with a reset, like that of a host that has crashed."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _answer(self, data: bytes) -> None:
        with suppress(ConnectionError):  # messages from before the end can still be read
            await self.send_raw(data)


def frame(opcode: int, payload: bytes = b"", *, is_last: bool = True) -> bytes:
    """Make a client's frame (RFC 6455, 5.2). A mask of zeros leaves the payload unchanged."""
    length = len(payload)
    if length < 126:
        size = bytes([128 | length])
    elif length < 65536:
        size = struct.pack(">BH", 128 | 126, length)
    else:
        size = struct.pack(">BQ", 128 | 127, length)
    return bytes([is_last << 7 | opcode]) + size + bytes(4) + payload


def take_frame(received: bytearray) -> tuple[int, bytes] | None:
    """Remove the next frame from the received bytes, and return its opcode and payload, or None if it is incomplete.

    Frames of a server have no mask.
    """
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
    """Open a plain TCP connection to the server."""
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
    """Open a WebSocket at `<url><path>`.

    Args:
        url: URL of the server, with a slash at its end.
        path: path of the WebSocket, with its query.
        receive_buffer_bytes: size of the socket's receive buffer; with a small one, the server soon cannot send.

    Raises:
        ConnectionError: the server refuses the upgrade.
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
    """Return the code of the Close frame at the end of the received bytes, as a list of one or no elements."""
    # Only short frames are searched, because the payload of a Close has at most 125 bytes.
    for start in range(len(received) - 4, max(-1, len(received) - 130), -1):
        if received[start] == 128 | CLOSE and received[start + 1] == len(received) - start - 2:
            return [struct.unpack_from(">H", received, start + 2)[0]]
    return []
