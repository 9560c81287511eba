"""Change which of several processes has a session or a room, in one file of SQLite that they share. Pure.

Each time that another process gets a session or room, its generation grows.
"""

from dataclasses import astuple

from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.rows import RoomRecord, Statement

INTERRUPT = "UPDATE resumption SET generation = generation + 1, interrupted_at_ms = coalesce(interrupted_at_ms, ?)"
"""Note that sessions pass on. The time is that at which they were interrupted first."""
EARLIER_PARTS = (
    "SELECT session.number, id, resume_token_hash, "
    "coalesce(owner = :former, 0) OR coalesce(interrupted_at_ms >= :oldest_ms, 0) "
    "FROM session LEFT JOIN resumption ON session = session.number "
    "WHERE room = :room AND state <> 'ended' AND owner IS NOT :owner "
    "AND (owner = :former OR interrupted_at_ms IS NOT NULL)"
)
"""The parts of a room at its former owner, and those that wait for their publishers after the death of a process. With
each, whether its publisher may still come back."""
HELD_ROOM = (
    f"SELECT number, owner, generation, {rows.ROOM_COLUMNS} FROM room WHERE name = ? COLLATE NOCASE "
    "ORDER BY name = ? DESC LIMIT 1"
)


def make_room(room: RoomRecord) -> Statement:
    """Write a room, unless there is one of this name."""
    return (
        f"INSERT INTO room ({rows.ROOM_COLUMNS}) SELECT ?, ?, ?, ?, ?, ?, ? "
        "WHERE NOT EXISTS (SELECT 1 FROM room WHERE name = ? COLLATE NOCASE)",
        (*astuple(room), room.name),
    )


def take_room(number: int, owner: str) -> Statement:
    """Let a process have a room."""
    return (
        "UPDATE room SET owner = ?, generation = generation + (owner IS NOT ?) WHERE number = ?",
        (owner, owner, number),
    )


def release_room(name: str, owner: str) -> Statement:
    """Note that a process has given a room up."""
    return (
        "UPDATE room SET owner = NULL, generation = generation + 1 WHERE name = ? AND owner = ?",
        (name, owner),
    )


def end_part(number: int) -> list[Statement]:
    """End a part of a process that is dead, or hangs. What that one still writes of it changes nothing."""
    return [
        ("UPDATE session SET owner = NULL, state = 'ended' WHERE number = ?", (number,)),
        ("DELETE FROM resumption WHERE session = ?", (number,)),
    ]


def release(session_id: SessionId, owner: str, now_ms: int) -> list[Statement]:
    """Note that a process has given a session up, which can go on elsewhere."""
    return [
        (
            f"{INTERRUPT} WHERE session = (SELECT number FROM session WHERE id = ? AND owner = ?)",
            (now_ms, session_id, owner),
        ),
        ("UPDATE session SET owner = NULL, state = 'interrupted' WHERE id = ? AND owner = ?", (session_id, owner)),
    ]


def take(session_id: str, owner: str, former: str | None, now_ms: int) -> list[Statement]:
    """Let a process have a session that can go on, unless yet another one than `former` has it by now."""
    return [
        (
            "UPDATE session SET owner = ?, state = 'interrupted' WHERE id = ? AND (owner IS NULL OR owner = ?) "
            "AND number IN (SELECT session FROM resumption)",
            (owner, session_id, former),
        ),
        (
            f"{INTERRUPT} WHERE session = (SELECT number FROM session WHERE id = ? AND owner = ?)",
            (now_ms, session_id, owner),
        ),
    ]


def pass_on(dead: str, successor: str, now_ms: int) -> list[Statement]:
    """Let a process have the sessions of one that has died."""
    return [
        (
            "UPDATE session SET owner = ?, state = 'interrupted' WHERE owner = ? AND state <> 'ended'",
            (successor, dead),
        ),
        (
            f"{INTERRUPT} WHERE session IN (SELECT number FROM session WHERE owner = ?)",
            (now_ms, successor),
        ),
    ]


def deal_out(owner: str, n_owners: int, remainder: int) -> Statement:
    """Let one of several processes have its part of the interrupted sessions that can go on."""
    return (
        "UPDATE session SET owner = ? WHERE state = 'interrupted' AND number % ? = ? "
        "AND number IN (SELECT session FROM resumption)",
        (owner, n_owners, remainder),
    )
