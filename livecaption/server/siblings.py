"""The other processes of this server. They ask each other for what only one of them has, over Unix sockets.

Each process answers at a socket in the directory that the parent has made, where only this user gets.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from inspect import isawaitable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from livecaption.server.config import Place
from livecaption.server.handover import Handover

TIMEOUT_S = 1.0
"""Time in s in which another process answers. Longer: figures come later where a process hangs. Shorter: a process that
is only busy counts as missing."""

logger = logging.getLogger(__name__)

Answers = Mapping[str, Callable[[str], Any]]


class Siblings:
    """The processes of this server, apart from this one. Used by the event loop.

    Args:
        place: the place of this process.
        answers: answer a question about something, by its name. An answer can be written as JSON. One that is never
            given to `ask` may also be awaited.

    Attributes:
        number: the number of this process.
        numbers: those of all.
        handover: takes connections once the server listens.
    """

    def __init__(self, place: Place, answers: Answers) -> None:
        self.number = place.number
        self.numbers = range(1, place.n + 1)
        self.handover = Handover(place)
        self._directory = Path(place.directory)
        self._answers = answers
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Answer the others from now on."""
        app = web.Application()
        app.router.add_get("/{question}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        path = self._path(self.number)
        path.unlink(missing_ok=True)  # of a process that was killed
        await web.UnixSite(self._runner, str(path)).start()
        self._http = {
            number: aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._path(number))))
            for number in self.numbers
            if number != self.number
        }

    async def close(self) -> None:
        self.handover.close()
        for http in self._http.values():
            await http.close()
        await self._runner.cleanup()

    async def ask(self, question: str, about: str = "") -> dict[int, Any]:
        """Return the answers of all processes to a question about this, by their numbers in order.

        Those that do not answer in time are left out.
        """
        found = await self.ask_others(question, about)
        return dict(sorted({**found, self.number: self._answers[question](about)}.items()))

    async def ask_others(self, question: str, about: str = "", apart_from: Collection[int] = ()) -> dict[int, Any]:
        """Return the answers of the other processes, apart from these, by their numbers."""
        others = [number for number in self.numbers if number != self.number and number not in apart_from]
        answers = await asyncio.gather(*(self._ask(number, question, about) for number in others))
        return {number: answer for number, answer in zip(others, answers, strict=True) if answer is not None}

    async def first_that(self, question: str, about: str = "", apart_from: Collection[int] = ()) -> int | None:
        """Return the number of another process, apart from these, that answers with yes; None: there is none."""
        found = await self.ask_others(question, about, apart_from)
        return next((number for number, answer in found.items() if answer), None)

    async def report(self, message: str, about: str) -> None:
        """Send a message to the others, and wait until they have it, or do not answer in time."""
        await self.ask_others(message, about)

    def tell(self, message: str, about: str) -> None:
        """Send a message to the others without waiting for them."""
        task = asyncio.ensure_future(self.report(message, about))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, number: int, question: str, about: str) -> Any:
        with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError, RuntimeError):  # closed
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http[number].get(f"http://localhost/{question}", params={"about": about}) as response,
            ):
                return await response.json()
        logger.debug("process %d does not answer", number)
        return None

    async def _answer(self, request: web.Request) -> web.Response:
        answer = self._answers.get(request.match_info["question"])
        if answer is None:
            return web.Response(status=404)
        answered = answer(request.query.get("about", ""))
        return web.json_response(await answered if isawaitable(answered) else answered)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.socket"
