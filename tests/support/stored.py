"""Stores with content, without a server."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from livecaption.events import Final
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.database import MERGED_PAGES, Database
from livecaption.store.ownership import acquire
from livecaption.store.rows import NewSession, Resumption, SessionState
from tests.support.postgresql import Cluster

STARTED_AT_MS = 1_770_000_000_000
ENDED_WITH_AUDIO = "ended_at_ms = started_at_ms + duration_ms"


def new_session(
    session_id: str = "one",
    title: str = "",
    language: str | None = "en",
    started_at_ms: int = STARTED_AT_MS,
    *,
    private: bool = False,
    resumption: Resumption | None = None,
    room: str | None = None,
) -> NewSession:
    return NewSession(SessionId(session_id), title, language, started_at_ms, private, resumption, room)


@contextlib.contextmanager
def opened(path: Path, merged_pages: int = MERGED_PAGES) -> Iterator[Database]:
    """Open the store as its owner, like the server's writer."""
    with contextlib.closing(acquire(path)), contextlib.closing(Database(path, merged_pages)) as database:
        yield database


def fill(database: Database, session: NewSession, finals: list[Final], *, ended: bool = True) -> None:
    """Write a complete session, which has ended with its audio."""
    statements = rows.begin(session)
    statements += [rows.append(session.id, final, seq) for seq, final in enumerate(finals, start=2)]
    if ended:
        statements += rows.end(session.id, finals[-1].end_ms if finals else 0)
        statements += [(f"UPDATE session SET {ENDED_WITH_AUDIO} WHERE id = ?", (session.id,))]
    assert database.write(statements) == 0


@contextlib.contextmanager
def locked_by_another(path: Path) -> Iterator[None]:
    """Let another connection hold the lock for writing."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def read_by_another(path: Path) -> Iterator[None]:
    """Let another connection read what the store has now, as a backup does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM session").fetchone()
        yield
        other.execute("ROLLBACK")


def bytes_of(directory: Path) -> bytes:
    """Return all files of a store: database, write-ahead log, shared memory."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file())


def stored_texts(store: Cluster | Path, session: str) -> list[tuple[int, str]]:
    """Return the numbers and texts of the finals that a database, or a file of SQLite, has of a session."""
    return _rows(
        store,
        "SELECT utterance, final.text FROM final JOIN session ON session.number = final.session "
        f"WHERE session.id = '{session}' ORDER BY utterance",
    )


def session_state(store: Cluster | Path, session: str) -> SessionState | None:
    """Return the state that a database, or a file of SQLite, has of a session; None: it does not have the session."""
    found = _rows(store, f"SELECT state FROM session WHERE id = '{session}'")
    return SessionState(found[0][0]) if found else None


def _rows(store: Cluster | Path, statement: str) -> list[tuple[Any, ...]]:
    if isinstance(store, Cluster):
        return store.execute(statement)
    with contextlib.closing(sqlite3.connect(store)) as database:
        return database.execute(statement).fetchall()
