"""Sinks of rooms that all processes of a server have, as the processes write them to each other."""

import json
from contextlib import suppress
from dataclasses import asdict

from livecaption.delivery.destination import Destination
from livecaption.delivery.sinks import Sinks
from livecaption.delivery.sources import room_key
from livecaption.errors import UnknownSession

ATTACHED, DETACHED = "attached", "detached"
"""The messages to the other processes of the server that a sink of a room is attached, and detached."""


def written(room: str, name: str, destination: Destination) -> str:
    """Return a sink of a room as text, which another process attaches with `attach`."""
    return json.dumps((room, name, asdict(destination)))


async def attach(sinks: Sinks, text: str) -> None:
    """Attach a sink of a room, because another process has it."""
    room, name, destination = json.loads(text)
    await sinks.attach(sinks.room(room), name, Destination(**destination))


async def detach(sinks: Sinks, text: str) -> None:
    """Detach a sink of a room, because another process has done so."""
    room, name = json.loads(text)
    with suppress(UnknownSession):
        await sinks.detach(room_key(room), name)
