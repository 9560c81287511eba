"""Ask PostgreSQL what the server needs. Each question gets a connection, and raises `connecting.FAILURES`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from livecaption.events import Final, Translation
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.postgresql import statements, words
from livecaption.store.postgresql.statements import NOW_MS
from livecaption.store.rows import (
    InterruptedSession,
    Numbered,
    Resumption,
    RoomRecord,
    RunningSession,
    SessionRecord,
)
from livecaption.store.search import Excerpt
from livecaption.store.store import MAX_EXCERPTS

_TRANSLATIONS_COLUMN = (
    "(SELECT coalesce(json_agg(json_build_array(language, text) ORDER BY seq), '[]')::text "
    "FROM translation WHERE translation.final = final.number)"
)
"""The value that `rows.with_translations` reads."""
_SESSION_COLUMNS = rows.SESSION_COLUMNS.replace(
    "json_group_array(json_array(speaker, name))", "coalesce(json_agg(json_build_array(speaker, name)), '[]')::text"
)
_INTERRUPTED_AT_MS = f"$2 + interrupted_at_ms - {NOW_MS}"
"""The clock of the database noted the time; here it becomes one of this machine's clock, whose time is the value 2."""
_NUMBER = "(SELECT number FROM session WHERE id = $1)"


async def resumption(connection: Any, session_id: str) -> Resumption | None:
    row = await connection.fetchrow(
        f"SELECT start, resume_token_hash, reader_token_hash FROM resumption WHERE session = {_NUMBER}", session_id
    )
    return Resumption(*row) if row else None


async def session(connection: Any, session_id: str) -> SessionRecord | None:
    row = await connection.fetchrow(f"SELECT {_SESSION_COLUMNS} FROM session WHERE id = $1", session_id)
    return rows.session_from_row(row) if row else None


async def sessions(
    connection: Any, limit: int, before: tuple[int, int] | None, terms: Sequence[str], *, with_private: bool
) -> list[SessionRecord]:
    """Return the newest sessions that match all terms; see `Store.sessions`."""
    conditions = ["true" if with_private else "NOT private"]
    values: list[Any] = [limit]
    if before is not None:
        values += before
        conditions.append("(started_at_ms, number) < ($2, $3)")
    for term in terms:
        values.append(words.query(term))
        conditions.append(
            f"number IN (SELECT session FROM final WHERE found @@ ${len(values)}::text::tsquery "
            f"UNION SELECT number FROM session WHERE found @@ ${len(values)}::text::tsquery)"
        )
    order = "ORDER BY started_at_ms DESC, number DESC"
    listed = f"SELECT number FROM session WHERE {' AND '.join(conditions)} {order} LIMIT $1"
    found = await connection.fetch(
        f"SELECT {_SESSION_COLUMNS} FROM session WHERE number IN ({listed}) {order}", *values
    )
    return [rows.session_from_row(row) for row in found]


async def excerpts(connection: Any, sessions: Sequence[SessionRecord], terms: Sequence[str]) -> list[list[Excerpt]]:
    """Return, for each session, excerpts of its first finals that match; see `Store.excerpts`."""
    found = await connection.fetch(
        "SELECT place, start_ms, text FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (session, place), "
        "LATERAL (SELECT number, start_ms, text FROM final WHERE final.session = asked.session "
        "AND found @@ $2::text::tsquery ORDER BY number LIMIT $3) AS matching ORDER BY place, number",
        [each.number for each in sessions],
        words.any_of(terms),
        MAX_EXCERPTS,
    )
    excerpts: list[list[Excerpt]] = [[] for _ in sessions]
    for place, start_ms, text in found:
        excerpts[place - 1].append(Excerpt(start_ms, words.excerpt(text, terms)))
    return excerpts


async def finals(connection: Any, session_id: str) -> Iterable[Final]:
    """Return the finals of a session in spoken order. Rows are read at once, and converted later."""
    found = await connection.fetch(
        f"SELECT {_TRANSLATIONS_COLUMN}, {rows.FINAL_COLUMNS} FROM final WHERE session = {_NUMBER} "
        # Utterances of different channels overlap; they are in the order of their starts.
        "ORDER BY CASE WHEN channel IS NULL THEN 0 ELSE start_ms END, utterance",
        session_id,
    )
    return (rows.with_translations(rows.final_from_row(columns), column) for column, *columns in found)


async def tracks(connection: Any, session_id: str) -> list[str]:
    found = await connection.fetch(
        "SELECT DISTINCT translation.language FROM translation JOIN final ON final.number = translation.final "
        f"WHERE session = {_NUMBER}",
        session_id,
    )
    return [language for (language,) in found]


async def unfinished(connection: Any) -> frozenset[str]:
    """Return the ids of the sessions that are open or can go on."""
    found = await connection.fetch(
        "SELECT id FROM session WHERE state = 'open' OR number IN (SELECT session FROM resumption)"
    )
    return frozenset(session_id for (session_id,) in found)


async def interruptions(connection: Any, ids: Sequence[str], now_ms: int) -> list[tuple[SessionId, int]]:
    """Return those of these sessions that can go on; see `Store.interruptions`. `now_ms`: as in `interrupted`."""
    found = await connection.fetch(
        f"SELECT id, {_INTERRUPTED_AT_MS} FROM resumption JOIN session ON session.number = resumption.session "
        "WHERE state = 'interrupted' AND id = ANY($1::text[]) ORDER BY number",
        ids,
        now_ms,
    )
    return list(map(tuple, found))


async def interrupted(
    connection: Any, session_id: str, now_ms: int
) -> tuple[Callable[[tuple[Numbered, ...]], InterruptedSession], Iterable[Numbered]] | None:
    """Return a session that can go on, which is to be called with its events. They are converted later, as `finals`.

    `now_ms`: the time of this machine's clock.
    """
    row = await connection.fetchrow(
        f"SELECT start, resume_token_hash, reader_token_hash, generation, {_INTERRUPTED_AT_MS}, "
        f"checkpoint_ms, shift_ms, {_SESSION_COLUMNS} "
        "FROM resumption JOIN session ON session.number = resumption.session WHERE state = 'interrupted' AND id = $1",
        session_id,
        now_ms,
    )
    if row is None:
        return None
    start, resume_hash, reader_hash, generation, interrupted_at_ms, checkpoint_ms, shift_ms, *columns = row
    record = rows.session_from_row(tuple(columns))
    resumption = Resumption(start, resume_hash, reader_hash)
    transcribed = await connection.fetch(
        "SELECT channel, max(end_ms - shift_ms) FROM final WHERE session = $1 GROUP BY channel", record.number
    )
    session = partial(
        InterruptedSession,
        record,
        resumption,
        generation,
        interrupted_at_ms,
        checkpoint_ms,
        shift_ms,
        dict(transcribed),
    )
    return session, await events(connection, record)


async def events(connection: Any, session: SessionRecord) -> Iterable[Numbered]:
    """Return the finals and translations of a session with their numbers, in the order of their events.

    Rows are read at once, and converted when they are iterated.
    """
    finals = await connection.fetch(f"SELECT seq, {rows.FINAL_COLUMNS} FROM final WHERE session = $1", session.number)
    translations = await connection.fetch(
        f"SELECT translation.seq, {rows.TRANSLATION_COLUMNS} "
        "FROM translation JOIN final ON final.number = translation.final WHERE session = $1",
        session.number,
    )
    return _converted(finals, translations)


def _converted(finals: Iterable[Sequence[Any]], translations: Iterable[Sequence[Any]]) -> Iterator[Numbered]:
    numbered: list[Numbered] = [(seq, rows.final_from_row(row)) for seq, *row in finals]
    numbered += [(seq, Translation(*row)) for seq, *row in translations]
    yield from sorted(numbered, key=lambda each: each[0])


async def running(connection: Any, session_id: str, now_ms: int) -> RunningSession | None:
    """Return a session whichever server has it. `now_ms`: the time of this machine's clock."""
    row = await connection.fetchrow(
        "SELECT generation, owner IS NOT NULL, start, resume_token_hash, reader_token_hash, "
        f"{_INTERRUPTED_AT_MS}, {_SESSION_COLUMNS} "
        "FROM session LEFT JOIN resumption ON resumption.session = session.number WHERE id = $1",
        session_id,
        now_ms,
    )
    if row is None:
        return None
    generation, is_owned, start, resume_hash, reader_hash, interrupted_at_ms, *columns = row
    record = rows.session_from_row(tuple(columns))
    resumption = None if start is None else Resumption(start, resume_hash, reader_hash)
    return RunningSession(record, generation, is_owned, resumption, interrupted_at_ms)


async def room(connection: Any, name: str) -> RoomRecord | None:
    row = await connection.fetchrow(
        f"SELECT {rows.ROOM_COLUMNS} FROM room WHERE lower(name) = lower($1::text) ORDER BY name = $1::text DESC",
        name,
    )
    return RoomRecord(*row) if row else None


async def parts(connection: Any, room: RoomRecord) -> list[SessionRecord]:
    """Return the sessions of the present event of a room, the oldest first."""
    found = await connection.fetch(
        f"SELECT {_SESSION_COLUMNS} FROM session WHERE room = (SELECT number FROM room WHERE name = $1) "
        "AND event >= $2 ORDER BY started_at_ms, session.number",
        room.name,
        room.event,
    )
    return [rows.session_from_row(row) for row in found]


async def n_waiting_rooms(connection: Any, oldest_ms: int) -> int:
    counted = f"SELECT count(*) FROM room WHERE {statements.WAITING_ROOM} AND {rows.UNUSED_ROOM}"
    return int(await connection.fetchval(counted, oldest_ms))


async def delete(connection: Any, session_id: str) -> bool:
    """Delete a session. Return whether there was one."""
    deleted = await connection.execute("DELETE FROM session WHERE id = $1", session_id)
    return bool(deleted != "DELETE 0")


async def rename(connection: Any, session_id: str, title: str | None, names: Mapping[int, str]) -> bool:
    """Change the title of a session and its words in the index, and names of speakers. Return whether there is one."""
    found = None if title is None else words.vector(title)
    changed = await connection.execute(statements.RENAME, session_id, title, found)
    for speaker, name in names.items():
        await connection.execute(statements.RENAME_SPEAKER, session_id, speaker, name)
    return bool(changed != "UPDATE 0")


async def expire(connection: Any, before_ms: int, limit: int) -> bool:
    """Delete some sessions, and all unused rooms, that are older than this. Return whether there may be more."""
    deleted = await connection.execute(statements.EXPIRE_SESSIONS, before_ms, limit)
    await connection.execute(statements.EXPIRE_ROOMS, before_ms)
    return bool(deleted == f"DELETE {limit}")
