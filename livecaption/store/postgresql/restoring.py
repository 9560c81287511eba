"""Bring the sessions and rooms of a file of SQLite into a database, while servers use it. Nothing is replaced."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from livecaption.store import rows
from livecaption.store.backup import ALL, RestoredSession, ShorterSession, columns_of, ends_of, place_of, snapshot
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database
from livecaption.store.postgresql import ownership, questions, words
from livecaption.store.postgresql.connecting import connect
from livecaption.store.postgresql.reading import reported
from livecaption.store.postgresql.statements import storable
from livecaption.store.rows import SessionState


async def restore(file: Path, config: StoreConfig) -> AsyncIterator[RestoredSession | ShorterSession]:
    """Add the sessions and rooms of a backup, or of a store, that a database does not have; see `backup.restore`.

    Raises:
        StoreFailed: the file cannot be read, or the database cannot be reached or written.
        StoreUnusable: its address is wrong.
    """
    with snapshot(file) as copy, reported(f"cannot restore into {config.place}"):
        connection = await connect(config.path)
        try:
            async with connection.transaction():
                await ownership.migrate(connection)
            async with connection.transaction():
                await _restore_rooms(copy, connection)
            there = dict(await connection.fetch("SELECT id, n_finals FROM session"))
            ends_ms = ends_of(copy)
            # The oldest first, so that their new numbers are in their order.
            for record in reversed(copy.sessions(ALL)):
                if record.id in there:
                    if there[record.id] < record.n_finals:
                        yield ShorterSession(record.id)
                    continue
                async with connection.transaction():
                    await _restore_session(copy, record.number, connection)
                # Servers write while this waits for the database, so they need no rest.
                yield RestoredSession(ends_ms[record.id], rest_s=0.0)
        finally:
            connection.terminate()


async def _restore_rooms(copy: Database, connection: Any) -> None:
    for row in copy.execute(f"SELECT {rows.ROOM_COLUMNS} FROM room ORDER BY number").fetchall():
        if await questions.room(connection, row[0]) is None:
            await connection.execute(_insert("room", rows.ROOM_COLUMNS.split(", ")), *map(_value, row))


async def _restore_session(copy: Database, number: int, connection: Any) -> None:
    """Add a session of the copy. If the database has one of this id, nothing changes."""
    session = _rows(copy, "session", f"number = {number}", without=("number", "owner"))[0]
    if session["state"] == SessionState.OPEN.value:
        session["state"] = SessionState.INTERRUPTED.value
    session |= {"private": bool(session["private"]), "found": words.vector(session["title"])}
    if session["room"] is not None:
        ((name,),) = copy.execute("SELECT name FROM room WHERE number = ?", (session["room"],)).fetchall()
        name, session["event"] = place_of(copy.room(name), await questions.room(connection, name), session["event"])
        session["room"] = await connection.fetchval("SELECT number FROM room WHERE name = $1", name)
    added = await connection.fetchval(f"{_insert('session', session)} RETURNING number", *session.values())
    if added is None:
        return
    finals = _rows(copy, "final", f"session = {number} ORDER BY number", without=("number", "session"))
    for final in finals:
        # Finals of an earlier version have no number, which matters only while a session can go on.
        numbered = final["utterance"] if final["seq"] is None else final["seq"]
        final |= {"seq": numbered, "session": added, "found": words.vector(final["text"])}
    await _insert_all(connection, "final", finals)
    names = _rows(copy, "speaker_name", f"session = {number}", without=())
    await _insert_all(connection, "speaker_name", [name | {"session": added} for name in names])
    utterances = dict(copy.execute("SELECT number, utterance FROM final WHERE session = ?", (number,)).fetchall())
    new = dict(await connection.fetch("SELECT utterance, number FROM final WHERE session = $1", added))
    its_own = f"final IN (SELECT number FROM final WHERE session = {number})"
    translations = _rows(copy, "translation", its_own, without=())
    await _insert_all(
        connection, "translation", [each | {"final": new[utterances[each["final"]]]} for each in translations]
    )


def _rows(copy: Database, table: str, condition: str, without: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rows of the copy, by the names of their columns. So none is forgotten that a later step adds."""
    names = columns_of(copy, table, without)
    found = copy.execute(f"SELECT {', '.join(names)} FROM {table} WHERE {condition}")
    return [dict(zip(names, map(_value, row), strict=True)) for row in found]


async def _insert_all(connection: Any, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        await connection.executemany(_insert(table, rows[0]), [tuple(row.values()) for row in rows])


def _insert(table: str, names: Iterable[str]) -> str:
    names = list(names)
    values = [f"${n}::text::tsvector" if name == "found" else f"${n}" for n, name in enumerate(names, start=1)]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(values)}) ON CONFLICT DO NOTHING"


def _value(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value
