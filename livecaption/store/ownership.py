"""Take a store for one server: create it, bring it to the present schema, lock it."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from livecaption.errors import StoreUnusable
from livecaption.store import owners, schema
from livecaption.store.config import NO_HOME
from livecaption.store.database import BUSY_TIMEOUT_S, Database
from livecaption.store.store import now_ms

TAKEN = "another server keeps its transcripts there"


def located(path: str) -> Path:
    """Return the path of a store without `~`.

    Raises:
        StoreUnusable: the home directory is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        advice = f"{NO_HOME}, or --store to a file or none"
        raise StoreUnusable(f"cannot keep transcripts in {path}: {advice}") from None


def acquire(path: Path) -> sqlite3.Connection:
    """Take the store for this process: create it if necessary, migrate it, and mark sessions that were left open.

    Returns:
        A lock that holds until it is closed or the process ends in any way. It is a lock of SQLite on a file beside the
        store. So it works on every system, and other programs may still read the store.

    Raises:
        StoreUnusable: another server has it, or it cannot be used; the message has the reason.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = sqlite3.connect(
            _made_for_lock(path), isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False
        )
        try:
            _lock(lock)
            # Only the user who runs the server may read what people said. The log beside the file gets the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with contextlib.closing(Database(path)) as database:
                migrate(database)
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("UPDATE session SET state = 'interrupted' WHERE state = 'open'")
                database.execute("UPDATE session SET owner = NULL WHERE owner IS NOT NULL")
                # Before any of their events is sent, because event numbers of two generations must differ.
                database.execute(owners.INTERRUPT, (now_ms(),))
        except BaseException:
            lock.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from None
    return lock


def check(path: Path) -> None:
    """Check that `acquire` would not refuse the file that is there. Nothing is made or changed.

    Raises:
        StoreUnusable: it would; the message is the same.
    """
    try:
        if is_taken(path):
            raise sqlite3.OperationalError(TAKEN)
        with contextlib.closing(Database(path, immutable=True)) as database:
            _check_owner(database)
    except sqlite3.Error as error:
        raise _unusable(path, error) from None


def is_taken(path: Path) -> bool:
    """Return whether a server has the store. One that starts at this moment waits for the look, and is not refused."""
    file = Path(f"{path}.lock").absolute()
    if not file.exists():
        return False
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0)) as lock:
        try:
            lock.execute("SELECT count(*) FROM sqlite_schema")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    return False


def _unusable(path: Path, error: OSError | sqlite3.Error) -> StoreUnusable:
    reason = error.strerror if isinstance(error, OSError) else error
    return StoreUnusable(f"cannot keep transcripts in {path}: {reason} (--store FILE, or --store none)")


def _made_for_lock(path: Path) -> str:
    """Return the file beside the store that is locked, after it was made for this user only.

    Anyone who can read it can lock it for good. The file of a lock that this process holds is not opened, because to
    close it again would release the lock.
    """
    file = f"{path}.lock"
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.suppress(PermissionError):  # it is another user's
        os.chmod(file, 0o600)  # earlier versions made it for everybody
    return file


def _lock(lock: sqlite3.Connection) -> None:
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise sqlite3.OperationalError(TAKEN) from None


def migrate(database: Database) -> None:
    """Bring the file to the present schema.

    Raises:
        sqlite3.Error: it belongs to another program or a later version, or cannot be written. It is unchanged.
    """
    version = _check_owner(database)
    if version < schema.SCHEMA_VERSION:
        with database.transaction():
            for step in schema.MIGRATIONS[version:]:
                for statement in _statements(step):
                    database.execute(statement)
            database.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")


def _check_owner(database: Database) -> int:
    """Return the version of the file's schema.

    Raises:
        sqlite3.Error: it is no database, or belongs to another program or a later version.
    """
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    (n_tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != schema.APPLICATION_ID and n_tables:
        raise sqlite3.DatabaseError("it is the database of another program")
    if version > schema.SCHEMA_VERSION:
        raise sqlite3.DatabaseError("it was written by a later version of livecaption")
    return version


def _statements(script: str) -> Iterator[str]:
    """Yield the statements one by one, because `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
