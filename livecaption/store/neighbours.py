"""Ask another process of the same server for a session or room. Each has a Unix socket, whose name is its id."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from livecaption.ipc import datagrams
from livecaption.store import asking
from livecaption.store.asking import Answers
from livecaption.store.room_claims import Outcome
from livecaption.store.store import RoomWish

MAX_BYTES = 1024
WANTED, WANTED_ROOM = "wanted", "wanted-room"
NONE = "-"
"""A value that is empty."""


class Neighbours:
    """The other processes. Used by the event loop.

    Args:
        directory: where the processes have their sockets.
        owner: the id of this one.
        asked: called with a session that another process wants to have, and the id of that process.
        asked_for_room: the same for a room.
    """

    def __init__(
        self,
        directory: Path,
        owner: str,
        asked: Callable[[str, str], None],
        asked_for_room: Callable[[RoomWish, str], None],
    ) -> None:
        self._directory = directory
        self._owner = owner
        self._asked = asked
        self._asked_for_room = asked_for_room
        self._answers = Answers()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be made.
        """
        self._socket = datagrams.receiver(self._directory / self._owner)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        (self._directory / self._owner).unlink(missing_ok=True)

    async def ask_for(self, session_id: str, owner: str) -> None:
        """Ask a process to give up a session, and wait until it has, for at most `asking.ASK_S`, unless it is gone."""
        await self._ask(session_id, owner, WANTED, session_id, self._owner)

    async def ask_for_room(self, wish: RoomWish, owner: str) -> Outcome:
        """Ask a process to give up a room, and wait for its answer, for at most `asking.ASK_S`, unless it is gone."""
        shown = (str(int(wish.take_over)), wish.former_hash or NONE, wish.resumed or NONE)
        return await self._ask(f"room {wish.room}", owner, WANTED_ROOM, wish.room, self._owner, *shown)

    def note_released(self, session_id: str, asker: str) -> None:
        """Answer the process that has asked for it that it can have the session."""
        self._answer(asker, Outcome.RELEASED, session_id)

    def answer_for_room(self, name: str, asker: str, outcome: Outcome) -> None:
        """Answer the process that has asked for a room."""
        self._answer(asker, outcome, "room", name)

    async def _ask(self, about: str, owner: str, *words: str) -> Outcome:
        with self._answers.expected(about) as answer:
            try:
                await self._send(owner, *words)
            except TimeoutError:
                return Outcome.SILENT
            except OSError:
                return Outcome.DEAD
            return await answer()

    def _answer(self, asker: str, outcome: Outcome, *about: str) -> None:
        task = asyncio.ensure_future(self._tell(asker, outcome.value, *about))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, asker: str, *words: str) -> None:
        with suppress(OSError):  # it does not wait any more
            await self._send(asker, *words)

    async def _send(self, to: str, *words: str) -> None:
        await datagrams.send(self._directory / to, " ".join(words).encode(), asking.ASK_S)

    def _receive(self) -> None:
        try:
            received = self._socket.recv(MAX_BYTES).decode()
        except OSError:
            return
        match received.split():
            case [what, session_id, by] if what == WANTED:
                self._asked(session_id, by)
            case [what, name, by, take_over, *shown] if what == WANTED_ROOM:
                former_hash, resumed = ("" if each == NONE else each for each in shown)
                self._asked_for_room(RoomWish(name, take_over == "1", former_hash, resumed), by)
            case [(Outcome.RELEASED.value | Outcome.REFUSED.value) as outcome, *about]:
                self._answers.note(" ".join(about), Outcome(outcome))
