"""Name what servers with one database send each other, and where. Pure."""

import json
from dataclasses import dataclass
from uuid import UUID


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


def encode(message: Wanted | Released) -> str:
    if isinstance(message, Wanted):
        return json.dumps({"wanted": message.session_id, "by": message.by.hex})
    return json.dumps({"released": message.session_id})


def decode(payload: str) -> Wanted | Released | None:
    """Return a message; None: it is none of ours, or of a later version."""
    try:
        match json.loads(payload):
            case {"wanted": str(session_id), "by": str(by)}:
                return Wanted(session_id, UUID(by))
            case {"released": str(session_id)}:
                return Released(session_id)
    except ValueError:
        pass
    return None


def key(server: UUID) -> int:
    """Return the key of a server's lock: 64 bits of its id, with a sign."""
    return int.from_bytes(server.bytes[:8], signed=True)


def channel(server: UUID) -> str:
    """Return the channel on which a server listens."""
    return f"livecaption_{server.hex}"
