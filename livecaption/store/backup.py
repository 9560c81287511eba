"""Copy a store while a server uses it, and bring back what a copy has.

    snapshot  store ─> a temporary file without a name
    back_up   store ─> a file, checked and complete, or no file
    restore   a file ─> the store: sessions and rooms that are missing there, one session after the other

A copy has everything of one moment, in the present schema. The server goes on to write while it is made, because
SQLite's log keeps the state that is being read.
"""

import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from livecaption.errors import StoreFailed
from livecaption.store import rows, schema
from livecaption.store.database import Database
from livecaption.store.ownership import acquire, migrate
from livecaption.store.rows import RoomRecord

LOCK_TIMEOUT_MS = 10_000
"""Wait in ms of a restoration for a server that writes. Longer than any of its transactions."""
REST_FACTOR = 1.0
"""Rest after each restored session, as a multiple of the time that it took. Less: finals of a running server wait
longer for their turn. More: a restoration takes longer."""
MIN_REST_S = 0.01
ALL = -1
"""A limit of a list that has no limit."""
OF_ANOTHER_EVENT = -1
"""Event of a restored session whose room has another past in the store, or has not come so far there. Readers of the
room do not see it, and no later event of the room gets its number."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a backup."""

    n_sessions: int
    n_finals: int


@dataclass(frozen=True, slots=True)
class RestoredSession:
    """A session that was restored.

    Attributes:
        ended_at_ms: its end, by the Unix clock.
        rest_s: time to wait before the next one, in which a server can write.
    """

    ended_at_ms: int
    rest_s: float


@dataclass(frozen=True, slots=True)
class ShorterSession:
    """A session that the store keeps as it is, although the backup has more of its captions."""

    id: str


@contextlib.contextmanager
def snapshot(path: Path) -> Iterator[Database]:
    """Yield a copy of a store for reading.

    Raises:
        StoreFailed: there is no store, it is damaged, or of a later version.
    """
    with closing(Database(None)) as copy:
        with _reported(f"cannot read {path}"):
            _copy(path, copy)
        yield copy


def back_up(path: Path, file: Path, *, overwrite: bool = False) -> Contents:
    """Copy a store to a file that only its user can read. Sessions that are open there are interrupted in the copy.

    Args:
        path: the store.
        file: the backup. Its directory is there.
        overwrite: whether a file that exists is replaced.

    Of two backups to one file at the same time, the one that began last is made.

    Raises:
        StoreFailed: it cannot be copied. A file that was there is unchanged.
    """
    with _reported(f"cannot back up {path} to {file}"):
        if file.is_dir():
            raise IsADirectoryError("it is a directory")
        if file.exists() and not file.is_file():  # a device or a pipe, such as /dev/stdout
            raise FileExistsError("it is not a regular file")
        file = Path(os.path.realpath(file))  # a link stays a link
        if file.exists() and path.exists() and file.samefile(path):
            raise FileExistsError("that is the store itself")
        if os.path.lexists(file) and not overwrite:
            raise FileExistsError("the file exists: --overwrite replaces it")
        # Always the same name. So a backup removes what a killed one has left.
        unfinished = file.with_name(f".{file.name}.unfinished")
        _remove(unfinished)
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with closing(Database(unfinished)) as copy:
                _copy(path, copy)
                _release(copy)
                contents = _contents(copy)
            os.fsync(descriptor)
            if not _is_in_place(descriptor, unfinished):
                raise FileExistsError("another backup writes the same file")
            unfinished.replace(file)
        except BaseException:
            if _is_in_place(descriptor, unfinished):
                _remove(unfinished)
            raise
        finally:
            os.close(descriptor)
        _sync_directory(file.parent)
        return contents


def restore(file: Path, path: Path) -> Iterator[RestoredSession | ShorterSession]:
    """Add the sessions and rooms of a backup that a store does not have. Nothing in the store is replaced.

    Each session is added as a whole or not at all, and a restoration that was cut short can be started again. If there
    is no store, it is made. Sessions come back with their id, and those that were open are interrupted for good.

    Raises:
        StoreFailed: the backup cannot be read, or the store cannot be written.
        StoreUnusable: the store cannot be created, or brought to the present schema.
    """
    with snapshot(file) as copy:
        if _version(path) != schema.SCHEMA_VERSION:
            acquire(path).close()
        with _reported(f"cannot restore into {path}"), closing(Database(path)) as store:
            store.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT_MS}")
            with store.transaction():
                _restore_rooms(copy, store)
            there: dict[str, int] = dict(store.execute("SELECT id, n_finals FROM session").fetchall())
            ends_ms = ends_of(copy)
            # The oldest first, so that their new numbers are in their order.
            for record in reversed(copy.sessions(ALL)):
                if record.id in there:
                    if there[record.id] < record.n_finals:
                        yield ShorterSession(record.id)
                    continue
                began_s = time.monotonic()
                with store.transaction():
                    store.check_in_place()
                    _restore_session(copy, record.number, store)
                rest_s = max(MIN_REST_S, REST_FACTOR * (time.monotonic() - began_s))
                yield RestoredSession(ends_ms[record.id], rest_s)


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StoreFailed(f"{what}: {reason}") from None


def _copy(path: Path, copy: Database) -> None:
    """Copy a store, and bring the copy to the present schema.

    Raises:
        OSError, sqlite3.Error: this is impossible; the message has the reason.
    """
    path.open("rb").close()  # SQLite would not give a reason
    # On a read-only disk, SQLite cannot make the shared memory of the log. Without a log it need not.
    immutable = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    with closing(Database(path, immutable=immutable)) as store:
        store.copy_to(copy)
    # Without a log, the copy is one file. Its journal is in memory, because a copy that fails is thrown away.
    copy.execute("PRAGMA journal_mode = MEMORY")
    if copy.execute("PRAGMA application_id").fetchone() != (schema.APPLICATION_ID,):
        raise sqlite3.DatabaseError("it is not a store of livecaption")
    migrate(copy)
    (result, *_) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise sqlite3.DatabaseError("it is damaged")


def _release(copy: Database) -> None:
    """Remove what only the server of the store needs, and the traces of a deletion that was under way."""
    with copy.transaction():
        copy.execute("UPDATE session SET state = 'interrupted' WHERE state = 'open'")
        copy.execute("DELETE FROM resumption")
    for _ in copy.purge():
        pass


def _contents(copy: Database) -> Contents:
    (n_sessions,) = copy.execute("SELECT count(*) FROM session").fetchone()
    (n_finals,) = copy.execute("SELECT count(*) FROM final").fetchone()
    return Contents(n_sessions, n_finals)


def _remove(unfinished: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)


def _is_in_place(descriptor: int, file: Path) -> bool:
    """Return True if this is the open file, and not one that another process has put into its place."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _sync_directory(directory: Path) -> None:
    """Sync the names of files to the disk, where the system can do that."""
    if sys.platform != "win32":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _version(path: Path) -> int | None:
    """Return the version of a store's schema. None: it is not there, or no database."""
    try:
        with closing(Database(path)) as store:
            version: int = store.execute("PRAGMA user_version").fetchone()[0]
            return version
    except sqlite3.Error:
        return None


def _restore_rooms(copy: Database, store: Database) -> None:
    columns = rows.ROOM_COLUMNS
    for room in copy.execute(f"SELECT {columns} FROM room ORDER BY number").fetchall():
        if store.room(RoomRecord(*room).name) is None:
            store.execute(f"INSERT INTO room ({columns}) VALUES ({', '.join('?' * len(room))})", room)


def _restore_session(copy: Database, number: int, store: Database) -> None:
    """Add a session of the copy. If the store has one of this id, nothing changes."""
    columns = _columns(copy, "session", without=("number", "room", "event", "state", "n_finals", "owner"))
    values = copy.execute(f"SELECT {columns} FROM session WHERE number = ?", (number,)).fetchone()
    state, event, room = copy.execute(
        "SELECT iif(state = 'open', 'interrupted', state), event, "
        "(SELECT name FROM room WHERE room.number = session.room) FROM session WHERE number = ?",
        (number,),
    ).fetchone()
    if room is not None:
        room, event = place_of(copy.room(room), store.room(room), event)
    new_number = store.execute(
        f"INSERT INTO session ({columns}, state, event, room) VALUES ({', '.join('?' * (len(values) + 2))}, "
        "(SELECT number FROM room WHERE name = ?)) ON CONFLICT DO NOTHING RETURNING number",
        (*values, state, event, room),
    ).fetchone()
    if new_number is None:
        return
    columns = _columns(copy, "final", without=("number", "session"))
    for values in copy.execute(f"SELECT {columns} FROM final WHERE session = ? ORDER BY number", (number,)):
        store.execute(
            f"INSERT INTO final (session, {columns}) VALUES (?, {', '.join('?' * len(values))})",
            (*new_number, *values),
        )
    names = copy.execute("SELECT speaker, name FROM speaker_name WHERE session = ?", (number,)).fetchall()
    for named in names:
        store.execute("INSERT INTO speaker_name (session, speaker, name) VALUES (?, ?, ?)", (*new_number, *named))
    columns = _columns(copy, "translation", without=("final",))
    for utterance, *rest in copy.execute(
        f"SELECT utterance, {columns} FROM "
        "(SELECT number, utterance FROM final WHERE session = ?) JOIN translation ON final = number",
        (number,),
    ):
        store.execute(
            f"INSERT INTO translation (final, {columns}) SELECT number, {', '.join('?' * len(rest))} "
            "FROM final WHERE session = ? AND utterance = ?",
            (*rest, *new_number, utterance),
        )


def place_of(old: RoomRecord | None, new: RoomRecord | None, event: int) -> tuple[str | None, int]:
    """Return the name of the session's room in a store, and the number of its event there.

    `old` and `new` are the room in the backup and in the store; None: it is not there.
    """
    if old is None or new is None:
        return None, event
    is_same = (old.publisher_token_hash, old.created_at_ms) == (new.publisher_token_hash, new.created_at_ms)
    return new.name, event if is_same and event <= new.event else OF_ANOTHER_EVENT


def ends_of(copy: Database) -> dict[str, int]:
    """Return the ends of the sessions in a copy, by their ids."""
    return dict(copy.execute(f"SELECT id, {rows.ENDED_AT_MS} FROM session").fetchall())


def _columns(database: Database, table: str, without: tuple[str, ...]) -> str:
    return ", ".join(columns_of(database, table, without))


def columns_of(database: Database, table: str, without: tuple[str, ...]) -> list[str]:
    """Return the columns of a table. So none is forgotten that a later step adds."""
    names = [name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    return [name for name in names if name not in without]
