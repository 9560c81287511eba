"""The other end of the notifications to systemd."""

import asyncio
import socket

from tests.support.processes import TIMEOUT_FACTOR


class Systemd:
    """The other end: its address and the received messages."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    async def receive(self, within_s: float = 20.0) -> str:
        """Wait for the next message."""
        async with asyncio.timeout(within_s * TIMEOUT_FACTOR):
            return (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()

    async def receive_until(self, message: str) -> list[str]:
        """Wait for this message, and return all messages up to it."""
        received = []
        while not received or received[-1] != message:
            received.append(await self.receive())
        return received

    def close(self) -> None:
        self._socket.close()
