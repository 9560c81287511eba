"""Turn what is to be written into statements of PostgreSQL. Pure.

Each entry may be executed twice; the second time it does nothing. Entries of one kind go to the server together.
"""

from dataclasses import astuple
from typing import Any, NamedTuple
from uuid import UUID

from livecaption.events import Final, Translation
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.postgresql import messages, words
from livecaption.store.rows import NewSession, RoomRecord

NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
"""The time of the database, because the clocks of servers differ."""
_BEGIN = """
    WITH begun AS (
        INSERT INTO session (id, title, language, private, started_at_ms, state, event, room, found, owner)
        VALUES ($1, $2, $3, $4, $5, 'open', $6, (SELECT number FROM room WHERE name = $7), $8::text::tsvector, $12)
        ON CONFLICT DO NOTHING RETURNING number
    )
    INSERT INTO resumption (session, start, resume_token_hash, reader_token_hash)
    SELECT number, $9::text, $10::text, $11::text FROM begun WHERE $9::text IS NOT NULL
"""
_APPEND = """
    WITH added AS (
        INSERT INTO final (session, utterance, text, start_ms, end_ms, language, confidence, latency_ms, words, channel,
            seq, shift_ms, found)
        SELECT number, $2::bigint, $3::text, $4::bigint, $5::bigint, $6::text, $7::double precision, $8::bigint,
            $9::text, $10::bigint, $11::bigint, $12::bigint, $13::text::tsvector
        FROM session WHERE id = $1 ON CONFLICT DO NOTHING RETURNING session, text, end_ms, language
    ), counted AS (
        UPDATE session SET
            duration_ms = greatest(duration_ms, added.end_ms),
            n_finals = n_finals + (added.text <> '')::integer,
            language = coalesce(session.language, added.language)
        FROM added WHERE session.number = added.session
    )
    UPDATE resumption SET checkpoint_ms = greatest(checkpoint_ms, $14), shift_ms = greatest(shift_ms, $15)
    WHERE $14::bigint IS NOT NULL AND session = (SELECT number FROM session WHERE id = $1)
"""
_TRANSLATE = """
    INSERT INTO translation (final, language, text, seq)
    SELECT final.number, $3::text, $4::text, $5::bigint FROM final JOIN session ON session.number = final.session
    WHERE session.id = $1 AND utterance = $2 ON CONFLICT DO NOTHING
"""
_CHECKPOINT = """
    UPDATE resumption SET checkpoint_ms = greatest(checkpoint_ms, $2), shift_ms = greatest(shift_ms, $3)
    WHERE session = (SELECT number FROM session WHERE id = $1)
"""
_REOPEN = """
    WITH reopened AS (UPDATE session SET state = 'open' WHERE id = $1 AND state = 'interrupted')
    UPDATE resumption SET interrupted_at_ms = NULL WHERE session = (SELECT number FROM session WHERE id = $1)
"""
_END = """
    WITH ended AS (
        UPDATE session SET
            state = CASE state WHEN 'open' THEN 'ended' ELSE state END, owner = NULL,
            duration_ms = CASE state WHEN 'open' THEN greatest(duration_ms, $2) ELSE duration_ms END
        WHERE id = $1
    )
    DELETE FROM resumption WHERE session = (SELECT number FROM session WHERE id = $1)
"""
_RELEASE = f"""
    WITH released AS (
        UPDATE session SET owner = NULL, state = 'interrupted', generation = generation + 1
        WHERE id = $1 AND state <> 'ended' RETURNING number
    ), noted AS (
        UPDATE resumption SET interrupted_at_ms = coalesce(interrupted_at_ms, {NOW_MS})
        FROM released WHERE session = released.number
    )
    SELECT pg_notify($2::text, $3::text) WHERE $2::text IS NOT NULL
"""
_PUT_ROOM = f"""
    INSERT INTO room ({rows.ROOM_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET
        title = excluded.title, reader_token_hash = excluded.reader_token_hash,
        ended_at_ms = excluded.ended_at_ms, event = excluded.event
"""
WAITING_ROOM = rows.WAITING_ROOM.replace("?", "$1")
_PRUNE_ROOMS = f"""
    DELETE FROM room WHERE name <> $2 AND number IN (
        SELECT number FROM room WHERE {rows.UNUSED_ROOM} AND NOT ({WAITING_ROOM}) ORDER BY number DESC OFFSET $3
    )
"""
RENAME = "UPDATE session SET title = $2, found = $3::text::tsvector WHERE id = $1"
EXPIRE_SESSIONS = """
    DELETE FROM session WHERE number IN (
        SELECT number FROM session WHERE state <> 'open' AND started_at_ms + duration_ms < $1 LIMIT $2
    )
"""
EXPIRE_ROOMS = f"DELETE FROM room WHERE created_at_ms < $1 AND {rows.UNUSED_ROOM}"


class Entry(NamedTuple):
    """A statement with its values.

    Attributes:
        session_id: the session that it is about; None: about none.
        generation: that of the session in this server. If the session has another one, nothing is written.
    """

    sql: str
    values: tuple[Any, ...]
    session_id: str | None = None
    generation: int = 0


def begin(session: NewSession, owner: UUID) -> list[Entry]:
    resumption = session.resumption
    return [
        Entry(
            _BEGIN,
            (
                session.id,
                session.title,
                session.language,
                session.private,
                session.started_at_ms,
                session.event,
                session.room,
                words.vector(session.title),
                *((None, None, None) if resumption is None else astuple(resumption)),
                owner,
            ),
        )
    ]


def append(
    session_id: SessionId, final: Final, seq: int, shift_ms: int, checkpoint_ms: int | None, checkpoint_shift_ms: int
) -> list[Entry]:
    """Write a final and, unless it is None, the checkpoint with it."""
    utterance, text, *rest = rows.final_to_row(final)
    text = _storable(text)
    values = (session_id, utterance, text, *rest, seq, shift_ms, words.vector(text))
    return [Entry(_APPEND, (*values, checkpoint_ms, checkpoint_shift_ms))]


def translate(session_id: SessionId, translation: Translation, seq: int) -> list[Entry]:
    text = _storable(translation.text)
    return [Entry(_TRANSLATE, (session_id, translation.utterance, translation.language, text, seq))]


def checkpoint(session_id: SessionId, checkpoint_ms: int, shift_ms: int) -> list[Entry]:
    return [Entry(_CHECKPOINT, (session_id, checkpoint_ms, shift_ms))]


def reopen(session_id: SessionId) -> list[Entry]:
    return [Entry(_REOPEN, (session_id,))]


def end(session_id: SessionId, duration_ms: int) -> list[Entry]:
    """Note that the session cannot go on any more. If it was never resumed, it stays interrupted."""
    return [Entry(_END, (session_id, duration_ms))]


def release(session_id: SessionId, to: UUID | None) -> list[Entry]:
    """Give a session up, so that another server can have it. `to` is the one that has asked for it."""
    message = (None, None) if to is None else (messages.channel(to), messages.encode(messages.Released(session_id)))
    return [Entry(_RELEASE, (session_id, *message))]


def put_room(room: RoomRecord, max_unused: int, oldest_waiting_ms: int) -> list[Entry]:
    """Write a room; see `rows.put_room`."""
    return [Entry(_PUT_ROOM, astuple(room)), Entry(_PRUNE_ROOMS, (oldest_waiting_ms, room.name, max_unused))]


def _storable(text: str) -> str:
    """Return the text without NUL, which PostgreSQL has in no text."""
    return text.replace("\0", "\ufffd")
