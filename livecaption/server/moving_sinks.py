"""The sinks of a room go with it: from the process where they are to the one in which somebody speaks.

a part begins here ─> the other processes are asked for the sinks of the room ─> each gives them once it has sent the
last words of its own part ─> they go on here, behind what was sent

The answers have the addresses of services, which are secrets. They go over the sockets of `siblings` alone.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from livecaption.delivery.destination import Destination
from livecaption.delivery.lines import Sent
from livecaption.delivery.sinks import Sinks
from livecaption.delivery.sources import RoomSource, room_key
from livecaption.errors import LivecaptionError
from livecaption.live.rooms import Rooms
from livecaption.server.siblings import Siblings

GIVE_SINKS = "give_sinks"
"""The question for the sinks of a room, which then are there no more."""
NOT_YET = "not yet"
LOOK_INTERVAL_S = 0.2
N_LOOKS = 150
"""Looks for the sinks of processes that send last words. Then they stay there. More: nothing that works would come
later. Fewer: sinks stay behind where a service is slow."""

logger = logging.getLogger(__name__)


class MovingSinks:
    """The sinks that come to this process and leave it. Used by the event loop."""

    def __init__(self, rooms: Rooms, sinks: Sinks) -> None:
        self._rooms = rooms
        self._sinks = sinks
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def give(self, name: str) -> Any:
        """Answer `GIVE_SINKS`."""
        given = await self._sinks.give(room_key(name))
        if given is None:
            return NOT_YET
        return [[sink, asdict(destination), asdict(sent)] for sink, destination, sent in given]

    def fetch(self, siblings: Siblings, name: str) -> None:
        """Begin to get the sinks of a room in which a part has begun here."""
        if name not in self._tasks:
            self._tasks[name] = task = asyncio.create_task(self._fetch(siblings, name))
            task.add_done_callback(partial(self._forget, name))

    def _forget(self, name: str, _: asyncio.Task[None]) -> None:
        del self._tasks[name]

    async def _fetch(self, siblings: Siblings, name: str) -> None:
        for _ in range(N_LOOKS):
            if not self._rooms.has(name):
                return
            answers = await siblings.ask_others(GIVE_SINKS, name)
            for answer in answers:
                if answer != NOT_YET:
                    for sink in answer:
                        await self._attach(name, sink)
            if NOT_YET not in answers:
                return
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _attach(self, room: str, given: Sequence[Any]) -> None:
        name, destination, sent = given
        utterances = tuple((channel, utterance) for channel, utterance in sent["utterances"])
        try:
            source = RoomSource(room, self._rooms)
            done = Sent(sent["session"], utterances, sent["seq"])
            await self._sinks.attach(source, name, Destination(**destination), done)
        except LivecaptionError as error:
            logger.error("the sink %s does not go on: %s", name, error.message)
