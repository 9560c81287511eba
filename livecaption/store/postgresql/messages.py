"""Name what servers with one database send each other, and where. Pure."""

import json
from dataclasses import asdict, dataclass
from uuid import UUID

from livecaption.store.room_claims import Outcome
from livecaption.store.store import RoomWish

ROOMS = "livecaption_rooms"
"""The channel on which all servers listen for rooms that have changed; see `changed_room`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Another server wants to have a session of this one.

    Attributes:
        by: the id of that server.
    """

    session_id: str
    by: UUID


@dataclass(frozen=True, slots=True)
class Released:
    """Another server has given up a session that this one wants."""

    session_id: str


@dataclass(frozen=True, slots=True)
class WantedRoom:
    """Another server wants to have a room of this one, for what a publisher has shown there.

    Attributes:
        by: the id of that server.
    """

    wish: RoomWish
    by: UUID


@dataclass(frozen=True, slots=True)
class RoomAnswer:
    """Another server has given up a room that this one wants, or has not."""

    room: str
    outcome: Outcome


Message = Wanted | Released | WantedRoom | RoomAnswer


def encode(message: Message) -> str:
    match message:
        case Wanted(session_id, by):
            return json.dumps({"wanted": session_id, "by": by.hex})
        case Released(session_id):
            return json.dumps({"released": session_id})
        case WantedRoom(wish, by):
            return json.dumps({"wanted_room": asdict(wish), "by": by.hex})
        case RoomAnswer(room, outcome):
            return json.dumps({"room": room, "outcome": outcome.value})


def decode(payload: str) -> Message | None:
    """Return a message; None: it is none of ours, or of a later version."""
    try:
        match json.loads(payload):
            case {"wanted": str(session_id), "by": str(by)}:
                return Wanted(session_id, UUID(by))
            case {"released": str(session_id)}:
                return Released(session_id)
            case {"wanted_room": dict(wish), "by": str(by)}:
                return WantedRoom(RoomWish(**wish), UUID(by))
            case {"room": str(room), "outcome": str(outcome)}:
                return RoomAnswer(room, Outcome(outcome))
    except (ValueError, TypeError):
        pass
    return None


def changed_room(name: str, server: UUID) -> str:
    """Return the message of a server that has changed a room."""
    return f"{server.hex} {name}"


def key(server: UUID) -> int:
    """Return the key of a server's lock: 64 bits of its id, with a sign."""
    return int.from_bytes(server.bytes[:8], signed=True)


def channel(server: UUID) -> str:
    """Return the channel on which a server listens."""
    return f"livecaption_{server.hex}"
