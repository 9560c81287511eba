"""Clients that misbehave on the transport: they never read, never answer, never finish a handshake."""

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A masked frame of at most 65,535 bytes. A mask of zeros leaves the payload as it is."""
    length = len(payload)
    size = bytes([128 | length]) if length < 126 else bytes([128 | 126]) + struct.pack(">H", length)
    return bytes([(128 if final else 0) | opcode]) + size + bytes(4) + payload


class RawPeer:
    """A WebSocket client that does only what it is told; reads nothing unless asked, answers nothing by itself."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    async def send(self, payload: bytes | dict[str, Any]) -> None:
        """A masked message: text for a dict (as JSON), else binary."""
        await self.send_frames(
            frame(TEXT, json.dumps(payload).encode()) if isinstance(payload, dict) else frame(BINARY, payload)
        )

    async def send_frames(self, data: bytes) -> None:
        """Whatever bytes."""
        await self._loop.sock_sendall(self._socket, data)

    def reset(self) -> None:
        """End the connection without a word, so that the server gets an error (RST)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

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
async def raw_peer(url: str, receive_buffer_bytes: int = 4096) -> AsyncIterator[RawPeer]:
    """A peer after the upgrade of `<url>v1/stream`. Its own buffer is small, so that not reading is soon felt."""
    async with raw_connection(url, receive_buffer_bytes) as connection:
        loop = asyncio.get_running_loop()
        key = base64.b64encode(os.urandom(16)).decode()
        parts = urlsplit(url)
        request = (
            f"GET {parts.path}v1/stream HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        await loop.sock_sendall(connection, request.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await loop.sock_recv(connection, 1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        yield RawPeer(connection)


def close_codes(received: bytes) -> list[int]:
    """The code of the Close frame that ends what a server has sent, if one does."""
    # Only short frames are looked for: a Close has at most 125 bytes.
    for start in range(len(received) - 4, max(-1, len(received) - 130), -1):
        if received[start] == 128 | CLOSE and received[start + 1] == len(received) - start - 2:
            return [struct.unpack_from(">H", received, start + 2)[0]]
    return []
