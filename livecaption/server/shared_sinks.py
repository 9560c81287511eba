"""The sinks of rooms, which all processes of a server have: messages about them, and about numbers that are used."""

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from livecaption.delivery.destination import Destination
from livecaption.delivery.sinks import Sinks
from livecaption.delivery.sources import room_key
from livecaption.errors import UnknownSession
from livecaption.server.siblings import Answers, Siblings

ATTACHED = "attached"
"""The message that a sink of a room is attached: the room, the name of the sink, and its destination."""
DETACHED = "detached"
"""The message that a sink of a room is detached: the room, and the name of the sink."""
SENDING = "sending"
"""The message that a sink of a room uses a number: the room, the name of the sink, and the number."""
SINKS = "sinks"
"""The question for the sinks of rooms: what `ATTACHED` has of each, and the greatest number that it has used."""


def answers(sinks: Sinks) -> Answers:
    """Return what this process does with the messages of the others, and answers to their question."""

    async def attach(about: str) -> None:
        await _attach(sinks, *json.loads(about))

    async def detach(about: str) -> None:
        room, name = json.loads(about)
        with suppress(UnknownSession):
            await sinks.detach(room_key(room), name)

    return {
        ATTACHED: attach,
        DETACHED: detach,
        SENDING: lambda about: sinks.note_used(*json.loads(about)),
        SINKS: lambda _: [
            (room, name, asdict(destination), seq) for room, name, destination, seq in sinks.of_all_processes
        ],
    }


async def learn(sinks: Sinks, siblings: Siblings) -> None:
    """Have the sinks that other processes have, and go on with their numbers."""
    for found in (await siblings.ask_others(SINKS)).values():
        for room, name, destination, seq in found:
            await _attach(sinks, room, name, destination)
            sinks.note_used(room, name, seq)


async def report_attached(siblings: Siblings, room: str, name: str, destination: Destination) -> None:
    """Let the other processes attach a sink too."""
    await siblings.report(ATTACHED, json.dumps((room, name, asdict(destination))))


async def report_detached(siblings: Siblings, room: str, name: str) -> None:
    """Let the other processes detach a sink too."""
    await siblings.report(DETACHED, json.dumps((room, name)))


async def report_sending(siblings: Siblings, room: str, name: str, seq: int) -> None:
    """Let the other processes go on behind a number, which is used now."""
    await siblings.report(SENDING, json.dumps((room, name, seq)))


async def _attach(sinks: Sinks, room: str, name: str, destination: dict[str, Any]) -> None:
    await sinks.attach(sinks.room(room), name, Destination(**destination))
