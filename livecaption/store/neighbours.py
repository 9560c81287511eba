"""Ask another process of the same server for a session. Each has a Unix socket, whose name is its id in the store."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 1024
ASK_S = 0.3
"""Time in s in which another process gives up a session that is asked for. Longer: a publisher waits longer where that
process hangs. Shorter: a busy process loses what it has not stored yet, and the publisher sends it again."""
WANTED, RELEASED = "wanted", "released"


class Neighbours:
    """The other processes. Used by the event loop.

    Args:
        directory: where the processes have their sockets.
        owner: the id of this one.
        asked: called with a session that another process wants to have, and the id of that process.
    """

    def __init__(self, directory: Path, owner: str, asked: Callable[[str, str], None]) -> None:
        self._directory = directory
        self._owner = owner
        self._asked = asked
        self._released: dict[str, asyncio.Event] = {}

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be made.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._directory / self._owner))
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        (self._directory / self._owner).unlink(missing_ok=True)

    async def ask_for(self, session_id: str, owner: str) -> None:
        """Ask a process to give up a session, and wait until it has, for at most `ASK_S`, unless it is gone."""
        released = self._released[session_id] = asyncio.Event()
        try:
            if self._send(WANTED, session_id, owner):
                with suppress(TimeoutError):
                    async with asyncio.timeout(ASK_S):
                        await released.wait()
        finally:
            del self._released[session_id]

    def note_released(self, session_id: str, asker: str) -> None:
        """Answer the process that has asked for it that it can have the session."""
        self._send(RELEASED, session_id, asker)

    def _send(self, what: str, session_id: str, owner: str) -> bool:
        """Send without waiting. Return False if the process is gone, or reads nothing."""
        try:
            self._socket.sendto(f"{what} {session_id} {self._owner}".encode(), str(self._directory / owner))
        except OSError:
            return False
        return True

    def _receive(self) -> None:
        try:
            received = self._socket.recv(MAX_BYTES).decode()
        except OSError:
            return
        match received.split():
            case [what, session_id, by] if what == WANTED:
                self._asked(session_id, by)
            case [what, session_id, _] if what == RELEASED and session_id in self._released:
                self._released[session_id].set()
