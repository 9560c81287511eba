"""Read, write and purge one SQLite file.

Each connection belongs to one thread at a time, and blocks it. The file has a write-ahead log, which is synced to the
disk with each commit. So a commit survives SIGKILL and, if the disk is honest about syncs, a power cut.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from livecaption.events import Final, SpeakerNamed, Translation
from livecaption.recognition import SessionId
from livecaption.store import rows, schema, search
from livecaption.store.rows import InterruptedSession, Numbered, Resumption, RoomRecord, SessionRecord, Statement
from livecaption.store.search import Excerpt
from livecaption.store.store import MAX_EXCERPTS

BUSY_TIMEOUT_S = 0.25
"""Wait in s for the lock of another program. Longer: a stop could wait for it. Shorter: more failures to write."""
MERGED_PAGES = 64
"""Pages of the index that are merged between two checks for waiting statements: 20 ms at most, with 350,000 finals.
More: finals wait longer. Less: a deletion takes longer."""
MAX_INTEGER = 2**63 - 1
CHECKPOINT_TRIES = 20
CHECKPOINT_PAUSE_S = 0.1
"""Time in s between two tries to empty the log. Longer: finals wait longer. Shorter: fewer readers end in time."""

UNWRITABLE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    UnicodeError,
    OverflowError,
)
"""Errors of statements that would fail alone and always."""


class Database:
    """A connection to the file.

    Args:
        path: the file. None: a temporary one without a name, which goes with the connection.
        merged_pages: pages of the index that are merged in one step of a deletion.
        immutable: whether nobody can write the file. Only then it is read without a lock and without its log.
        busy_timeout_s: how long to wait for the lock of another program.
    """

    def __init__(
        self,
        path: Path | None,
        merged_pages: int = MERGED_PAGES,
        *,
        immutable: bool = False,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        """Open the file.

        Raises:
            sqlite3.Error: the file cannot be opened.
        """
        self._connection = sqlite3.connect(
            # It is not created here, because a file that somebody removed must not come back empty and readable by all.
            f"{path.absolute().as_uri()}?{'immutable=1' if immutable else 'mode=rw'}" if path else "",
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        self._path = path
        self._merged_pages = merged_pages
        self._opened = _identity(path) if path else None
        try:
            self.execute("PRAGMA foreign_keys = ON")
            self.execute("PRAGMA secure_delete = ON")
            self.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def check_in_place(self) -> None:
        """Check that the file is still in its place.

        SQLite itself goes on with a removed file, and everything that it writes to it is lost at the end.

        Raises:
            sqlite3.OperationalError: the opened file is no longer there.
        """
        if self._path is None or self._opened is None or _identity(self._path) != self._opened:
            raise sqlite3.OperationalError("the file was removed or replaced")

    def execute(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    def copy_to(self, copy: "Database") -> None:
        """Copy everything to another file in one step, which writers do not wait for."""
        self._connection.backup(copy._connection)

    # Writing

    def write(self, statements: Sequence[Statement]) -> int:
        """Execute all statements in one transaction. Return how many were left out, because they can never succeed.

        Raises:
            sqlite3.Error: nothing was written.
        """
        n_left_out = 0
        with self.transaction():
            self.check_in_place()  # only now: the file may have been moved while this waited for the lock
            for statement in self.allowed(statements):
                try:
                    self.execute(*statement)
                except UNWRITABLE:
                    n_left_out += 1
        return n_left_out

    def allowed(self, statements: Sequence[Statement]) -> Sequence[Statement]:
        """Return the statements that this process may execute: all, where it has the file for itself."""
        return statements

    def delete(self, session_id: str) -> Iterator[bool]:
        """Delete a session for good, in steps. The first step yields whether there was one.

        If there was none, an earlier deletion may have left traces of it.
        """
        yield self.execute("DELETE FROM session WHERE id = ?", (session_id,)).rowcount > 0
        yield from self.purge()

    def rename(self, session_id: str, title: str | None, names: Mapping[int, str]) -> Iterator[bool]:
        """Change title and names of speakers of a session, and remove the old ones, in steps.

        Args:
            session_id: the session.
            title: None: it stays.
            names: the new names, by the numbers of the speakers.

        The first step yields whether there is such a session.
        """
        with self.transaction():
            renamed = "UPDATE session SET title = coalesce(?, title) WHERE id = ?"
            found = self.execute(renamed, (title, session_id)).rowcount > 0
            for speaker, name in names.items():
                self.execute(*rows.name_speaker(SessionId(session_id), SpeakerNamed(speaker, name)))
        yield found
        if found:
            yield from self.purge()

    def expire(self, before_ms: int) -> Iterator[bool]:
        """Delete all sessions for good, in steps, that ended before that time of the Unix clock.

        Rooms of that age without sessions are deleted too, and so are the traces of earlier deletions.
        """
        old = f"SELECT number FROM session WHERE state <> 'open' AND {rows.ENDED_AT_MS} < ? LIMIT 1"
        while self.execute(f"DELETE FROM session WHERE number IN ({old})", (before_ms,)).rowcount:
            yield True
        self.execute(f"DELETE FROM room WHERE created_at_ms < ? AND {rows.UNUSED_ROOM}", (before_ms,))
        yield from self.purge()

    def purge(self) -> Iterator[bool]:
        """Remove the traces of deleted rows, in steps: words in the index, pages in the log."""
        for index in schema.SEARCH_INDEXES:
            # An index only notes deletions, until its parts are merged: -n begins a merge, n continues it.
            pages = -self._merged_pages
            while True:
                before = self._connection.total_changes
                self.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', ?)", (pages,))
                if self._connection.total_changes - before < 2:
                    break
                pages = self._merged_pages
                yield True
        for _ in range(CHECKPOINT_TRIES):
            if self._empty_log():
                return
            yield True
            time.sleep(CHECKPOINT_PAUSE_S)
        raise sqlite3.OperationalError("another program still reads the log, which may contain what was deleted")

    def _empty_log(self) -> bool:
        """Empty the log. Return False if somebody uses it now: SQLite would keep all writers out while it waited."""
        (timeout_ms,) = self.execute("PRAGMA busy_timeout").fetchone()
        self.execute("PRAGMA busy_timeout = 0")
        try:
            return not self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self.execute(f"PRAGMA busy_timeout = {timeout_ms}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Execute all statements of the block, or none."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # A full disk ends the transaction by itself.
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    # Reading

    def session(self, session_id: str) -> SessionRecord | None:
        row = self.execute(f"SELECT {rows.SESSION_COLUMNS} FROM session WHERE id = ?", (session_id,)).fetchone()
        return rows.session_from_row(row) if row else None

    def resumption(self, session_id: str) -> Resumption | None:
        """Return the data that a session goes on with; None: it cannot go on."""
        row = self.execute(
            "SELECT start, resume_token_hash, reader_token_hash FROM resumption "
            "WHERE session = (SELECT number FROM session WHERE id = ?)",
            (session_id,),
        ).fetchone()
        return Resumption(*row) if row else None

    def owner(self, session_id: str) -> str | None:
        """Return the process that has a session, of those that share the file; None: none of them."""
        row = self.execute("SELECT owner FROM session WHERE id = ?", (session_id,)).fetchone()
        owner: str | None = row[0] if row else None
        return owner

    def room(self, name: str) -> RoomRecord | None:
        """Return the room of this name, in which case does not count unless an earlier version has made several."""
        found = self.execute(
            f"SELECT {rows.ROOM_COLUMNS} FROM room WHERE name = ? COLLATE NOCASE ORDER BY name = ? DESC", (name, name)
        )
        row = found.fetchone()
        return RoomRecord(*row) if row else None

    def n_waiting_rooms(self, oldest_ms: int) -> int:
        """Return the number of rooms that wait for their first part, and were made at `oldest_ms` or later."""
        counted = f"SELECT count(*) FROM room WHERE {rows.WAITING_ROOM} AND {rows.UNUSED_ROOM}"
        n_waiting: int = self.execute(counted, (oldest_ms,)).fetchone()[0]
        return n_waiting

    def parts(self, room: RoomRecord) -> list[SessionRecord]:
        """Return the sessions of the present event of a room, the oldest first."""
        found = self.execute(
            f"SELECT {rows.SESSION_COLUMNS} FROM session "
            "WHERE room = (SELECT number FROM room WHERE name = ?) AND event >= ? "
            "ORDER BY started_at_ms, session.number",
            (room.name, room.event),
        )
        return [rows.session_from_row(row) for row in found]

    def sessions(
        self,
        limit: int,
        before: tuple[int, int] | None = None,
        terms: Sequence[str] = (),
        *,
        with_private: bool = True,
    ) -> list[SessionRecord]:
        """Return the newest sessions that match all terms.

        Args:
            limit: number of sessions, at most.
            before: position of a session; only earlier ones are listed.
            terms: words and phrases of `search.terms`.
            with_private: whether private sessions are listed too.
        """
        condition = "(started_at_ms, number) < (:before_ms, :before)"
        if not with_private:
            condition += " AND NOT private"
        before_ms, before_number = before or (MAX_INTEGER, MAX_INTEGER)
        values: dict[str, Any] = {"before_ms": before_ms, "before": before_number, "limit": limit}
        for n, term in enumerate(terms):
            values[f"term{n}"] = search.fts5(term)
            condition += (
                " AND number IN ("
                "SELECT final.session FROM final_text JOIN final ON final.number = final_text.rowid "
                f"WHERE final_text MATCH :term{n} "
                f"UNION SELECT rowid FROM session_title WHERE session_title MATCH :term{n})"
            )
        # Not by number, because restored sessions have greater ones than later sessions.
        order = "ORDER BY started_at_ms DESC, number DESC"
        # For speed: all columns are read only of the sessions that are listed.
        listed = f"SELECT number FROM session WHERE {condition} {order} LIMIT :limit"
        found = self.execute(f"SELECT {rows.SESSION_COLUMNS} FROM session WHERE number IN ({listed}) {order}", values)
        return [rows.session_from_row(row) for row in found]

    def excerpts(self, session: SessionRecord, terms: Sequence[str]) -> list[Excerpt]:
        """Return excerpts of the first finals of a session that match one of the terms."""
        found = self.execute(
            "SELECT final.start_ms, snippet(final_text, 0, :before, :after, '…', :words) "
            "FROM final_text JOIN final ON final.number = final_text.rowid "
            "WHERE final_text MATCH :terms AND final.session = :session "
            # For speed: rowids outside this range belong to other sessions.
            "AND final_text.rowid >= (SELECT min(number) FROM final WHERE session = :session) "
            "AND final_text.rowid <= (SELECT max(number) FROM final WHERE session = :session) "
            "ORDER BY final_text.rowid LIMIT :limit",
            {
                "session": session.number,
                "terms": " OR ".join(map(search.fts5, terms)),
                "before": search.BEFORE_MATCH,
                "after": search.AFTER_MATCH,
                "words": search.EXCERPT_WORDS,
                "limit": MAX_EXCERPTS,
            },
        )
        return [Excerpt(start_ms, search.parts(text)) for start_ms, text in found]

    def finals(self, session: SessionRecord) -> Iterator[Final]:
        """Return the finals with their translations, in spoken order.

        Rows are read at once, and converted one by one, in any thread.
        """
        found = self.execute(
            f"SELECT {rows.TRANSLATIONS_COLUMN}, {rows.FINAL_COLUMNS} FROM final WHERE session = ? "
            # Utterances of different channels overlap; they are in the order of their starts.
            "ORDER BY iif(channel IS NULL, 0, start_ms), utterance",
            (session.number,),
        ).fetchall()
        return (rows.with_translations(rows.final_from_row(columns), column) for column, *columns in found)

    def tracks(self, session: SessionRecord) -> list[str]:
        """Return the languages into which a session was translated."""
        found = self.execute(
            "SELECT DISTINCT translation.language FROM translation JOIN final ON final.number = translation.final "
            "WHERE session = ?",
            (session.number,),
        )
        return [language for (language,) in found]

    def unfinished(self) -> frozenset[str]:
        """Return the ids of the sessions that are open or can go on."""
        found = self.execute(
            "SELECT id FROM session WHERE state = 'open' OR number IN (SELECT session FROM resumption)"
        )
        return frozenset(session_id for (session_id,) in found)

    def interruptions(self, owner: str | None = None) -> list[tuple[SessionId, int]]:
        """Return the sessions that can go on, and when each was found interrupted first, the oldest session first.

        They are those that this process has, or none of several.
        """
        return self.execute(
            "SELECT id, interrupted_at_ms FROM resumption JOIN session ON session.number = resumption.session "
            "WHERE state = 'interrupted' AND owner IS ? ORDER BY number",
            (owner,),
        ).fetchall()

    def interrupted(self, session_id: str, owner: str | None = None) -> InterruptedSession | None:
        """Return one of the sessions of `interruptions`; None: it is not among them."""
        found = self.execute(
            "SELECT start, resume_token_hash, reader_token_hash, generation, interrupted_at_ms, checkpoint_ms, "
            f"shift_ms, {rows.SESSION_COLUMNS} "
            "FROM resumption JOIN session ON session.number = resumption.session "
            "WHERE state = 'interrupted' AND id = ? AND owner IS ?",
            (session_id, owner),
        ).fetchone()
        if found is None:
            return None
        start, resume_hash, reader_hash, generation, interrupted_at_ms, checkpoint_ms, shift_ms, *columns = found
        record = rows.session_from_row(tuple(columns))
        transcribed = self.execute(
            "SELECT channel, max(end_ms - shift_ms) FROM final WHERE session = ? GROUP BY channel", (record.number,)
        )
        return InterruptedSession(
            record,
            Resumption(start, resume_hash, reader_hash),
            generation,
            interrupted_at_ms,
            checkpoint_ms,
            shift_ms,
            dict(transcribed.fetchall()),
            self._events(record),
        )

    def _events(self, session: SessionRecord) -> tuple[Numbered, ...]:
        """Return the finals and translations of a session with their numbers, in the order of their events."""
        finals = self.execute(
            f"SELECT seq, {rows.FINAL_COLUMNS} FROM final WHERE session = ? ORDER BY seq", (session.number,)
        )
        events: list[Numbered] = [(seq, rows.final_from_row(row)) for seq, *row in finals]
        translations = self.execute(
            f"SELECT translation.seq, {rows.TRANSLATION_COLUMNS} "
            "FROM translation JOIN final ON final.number = translation.final WHERE session = ?",
            (session.number,),
        )
        events += [(seq, Translation(*row)) for seq, *row in translations]
        # Those of an earlier version of the store have no number.
        return tuple(sorted(events, key=lambda numbered: numbered[0] or 0))


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what identifies the file; None: it cannot be reached."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
