"""Change which of several processes has a session, in one file of SQLite that they share. Pure.

Each time that another process gets a session, its generation grows.
"""

from livecaption.recognition import SessionId
from livecaption.store.rows import Statement

INTERRUPT = "UPDATE resumption SET generation = generation + 1, interrupted_at_ms = coalesce(interrupted_at_ms, ?)"
"""Note that sessions pass on. The time is that at which they were interrupted first."""


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
