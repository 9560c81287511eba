"""Wait for the answers of other servers that are asked for a session or room. Each store sends in its own way."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from livecaption.store.room_claims import Outcome

ASK_S = 0.3
"""Time in s in which another server gives up a session or room that is asked for. Longer: publishers wait longer where
that server hangs. Shorter: a busy server loses what it has not stored yet, and the publisher sends it again."""


class Answers:
    """The answers for which this server waits. Used by the event loop."""

    def __init__(self) -> None:
        self._awaited: dict[str, asyncio.Future[Outcome]] = {}  # by what was asked for

    @contextmanager
    def expected(self, about: str) -> Iterator[Callable[[], Awaitable[Outcome]]]:
        """Take an answer in this block, which sends the question. Yield what waits for it, for at most `ASK_S`."""
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._awaited[about] = answered
        try:
            yield partial(_in_time, answered)
        finally:
            del self._awaited[about]

    def note(self, about: str, outcome: Outcome) -> None:
        """Note an answer. One that nobody waits for any more is ignored."""
        answered = self._awaited.get(about)
        if answered is not None and not answered.done():
            answered.set_result(outcome)


async def _in_time(answered: asyncio.Future[Outcome]) -> Outcome:
    try:
        async with asyncio.timeout(ASK_S):
            return await answered
    except TimeoutError:
        return Outcome.SILENT
