"""Turn what is to be written into statements of PostgreSQL. Pure.

Each entry may be executed twice; the second time it does nothing. Entries of one kind go to the server together.
"""

from dataclasses import astuple
from typing import Any, NamedTuple
from uuid import UUID

from livecaption.captions.speakers import highest_speaker
from livecaption.events import Final, SpeakerNamed, Translation
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.postgresql import messages, words
from livecaption.store.room_claims import Outcome
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
_HELD = """
    held AS MATERIALIZED (SELECT number, id, generation, state FROM session WHERE id = $1 FOR NO KEY UPDATE),
    mine AS (SELECT number FROM held WHERE generation = $2)
"""
"""Holds a session where it is until the transaction is over. `mine` is empty if it has moved on, or was deleted."""
WITH_PUBLISHER = "state <> 'interrupted'"
"""Is true if the publisher of a session that has moved on has gone along, or somebody else has ended it."""
_LOST = f"SELECT id, $2::bigint, {WITH_PUBLISHER} FROM held WHERE generation <> $2"
"""Returns the session if it has moved on: its id, its generation here, and `WITH_PUBLISHER`."""
_APPEND = f"""
    WITH {_HELD}, added AS (
        INSERT INTO final (session, utterance, text, start_ms, end_ms, language, confidence, latency_ms, words, channel,
            turns, seq, shift_ms, found)
        SELECT number, $3::bigint, $4::text, $5::bigint, $6::bigint, $7::text, $8::double precision, $9::bigint,
            $10::text, $11::bigint, $12::text, $13::bigint, $14::bigint, $15::text::tsvector
        FROM mine ON CONFLICT DO NOTHING RETURNING session, text, end_ms, language
    ), counted AS (
        UPDATE session SET
            duration_ms = greatest(duration_ms, added.end_ms),
            n_finals = n_finals + (added.text <> '')::integer,
            language = coalesce(session.language, added.language),
            n_speakers = greatest(n_speakers, $18)
        FROM added WHERE session.number = added.session
    ), noted AS (
        UPDATE resumption SET checkpoint_ms = greatest(checkpoint_ms, $16),
            shift_ms = CASE WHEN checkpoint_ms <= $16 THEN $17 ELSE shift_ms END
        FROM mine WHERE $16::bigint IS NOT NULL AND session = mine.number
    )
    {_LOST}
"""
_TRANSLATE = f"""
    WITH {_HELD}, added AS (
        INSERT INTO translation (final, language, text, seq)
        SELECT final.number, $4::text, $5::text, $6::bigint FROM final JOIN mine ON mine.number = final.session
        WHERE utterance = $3 ON CONFLICT DO NOTHING
    )
    {_LOST}
"""
_NAME_SPEAKER = f"""
    WITH {_HELD}, named AS (
        INSERT INTO speaker_name (session, speaker, name) SELECT number, $3::bigint, $4::text FROM mine
        ON CONFLICT (session, speaker) DO UPDATE SET name = excluded.name
    )
    {_LOST}
"""
_CHECKPOINT = f"""
    WITH {_HELD}, noted AS (
        UPDATE resumption SET checkpoint_ms = greatest(checkpoint_ms, $3),
            shift_ms = CASE WHEN checkpoint_ms <= $3 THEN $4 ELSE shift_ms END
        FROM mine WHERE session = mine.number
    )
    {_LOST}
"""
_REOPEN = f"""
    WITH {_HELD}, reopened AS (
        UPDATE session SET state = 'open' FROM mine WHERE session.number = mine.number AND state = 'interrupted'
    ), noted AS (UPDATE resumption SET interrupted_at_ms = NULL FROM mine WHERE session = mine.number)
    {_LOST}
"""
_END = f"""
    WITH {_HELD}, ended AS (
        UPDATE session SET
            state = CASE WHEN $4 THEN 'ended' ELSE state END, owner = NULL,
            duration_ms = CASE WHEN $4 THEN greatest(duration_ms, $3) ELSE duration_ms END
        FROM mine WHERE session.number = mine.number
    ), forgotten AS (DELETE FROM resumption USING mine WHERE session = mine.number)
    {_LOST}
"""
_RELEASE = f"""
    WITH {_HELD}, released AS (
        UPDATE session SET owner = NULL, state = 'interrupted'
        FROM mine WHERE session.number = mine.number AND state <> 'ended' AND (owner IS NULL OR owner = $5)
        RETURNING session.number, CASE WHEN $3::text IS NOT NULL THEN pg_notify($3::text, $4::text) END
    ), noted AS (
        UPDATE resumption SET interrupted_at_ms = coalesce(interrupted_at_ms, {NOW_MS})
        FROM released WHERE session = released.number
    )
    {_LOST}
"""
_PUT_ROOM = f"""
    INSERT INTO room ({rows.ROOM_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET
        title = excluded.title, reader_token_hash = excluded.reader_token_hash,
        ended_at_ms = excluded.ended_at_ms, event = greatest(room.event, excluded.event)
"""
_RELEASE_ROOM = """
    WITH released AS (UPDATE room SET owner = NULL, generation = generation + 1 WHERE name = $1 AND owner = $2)
    SELECT NULL, 0, false WHERE pg_notify($3, $4) IS NULL
"""
_REFUSE_ROOM = "SELECT NULL, 0, false WHERE pg_notify($1, $2) IS NULL"
_NOTIFY_ROOM = f"SELECT NULL, 0, false WHERE pg_notify('{messages.ROOMS}', $1) IS NULL"
_NOTIFY_ROOM_OF_SESSION = f"""
    SELECT NULL, 0, false FROM session JOIN room ON room.number = session.room
    WHERE id = $1 AND pg_notify('{messages.ROOMS}', $2::text || name) IS NULL
"""
"""Each of these sends a message, and returns no row."""
WAITING_ROOM = rows.WAITING_ROOM.replace("?", "$1")
_PRUNE_ROOMS = f"""
    DELETE FROM room WHERE name <> $2 AND number IN (
        SELECT number FROM room WHERE {rows.UNUSED_ROOM} AND NOT ({WAITING_ROOM}) ORDER BY number DESC OFFSET $3
    )
"""
RENAME = "UPDATE session SET title = coalesce($2, title), found = coalesce($3::text::tsvector, found) WHERE id = $1"
RENAME_SPEAKER = """
    INSERT INTO speaker_name (session, speaker, name) SELECT number, $2::bigint, $3::text FROM session WHERE id = $1
    ON CONFLICT (session, speaker) DO UPDATE SET name = excluded.name
"""
EXPIRE_SESSIONS = f"""
    DELETE FROM session WHERE number IN (
        SELECT number FROM session WHERE state <> 'open' AND {rows.ENDED_AT_MS} < $1 LIMIT $2
    )
"""
EXPIRE_ROOMS = f"DELETE FROM room WHERE created_at_ms < $1 AND {rows.UNUSED_ROOM}"


class Entry(NamedTuple):
    """A statement with its values. Where it is about a session that has moved on, it returns that: see `_LOST`."""

    sql: str
    values: tuple[Any, ...]


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
        ),
        *([] if session.room is None else [notify_room(session.room, owner)]),
    ]


# `generation` is that of the session in this server. If the session has another one, nothing is written.


def append(
    session_id: SessionId,
    generation: int,
    final: Final,
    seq: int,
    shift_ms: int,
    checkpoint_ms: int | None,
    checkpoint_shift_ms: int,
) -> list[Entry]:
    """Write a final and, unless it is None, the checkpoint with it."""
    utterance, text, *rest = rows.final_to_row(final)
    text = storable(text)
    values = (session_id, generation, utterance, text, *rest, seq, shift_ms, words.vector(text))
    return [Entry(_APPEND, (*values, checkpoint_ms, checkpoint_shift_ms, highest_speaker([final])))]


def translate(session_id: SessionId, generation: int, translation: Translation, seq: int) -> list[Entry]:
    text = storable(translation.text)
    return [Entry(_TRANSLATE, (session_id, generation, translation.utterance, translation.language, text, seq))]


def name_speaker(session_id: SessionId, generation: int, named: SpeakerNamed) -> list[Entry]:
    return [Entry(_NAME_SPEAKER, (session_id, generation, named.speaker, storable(named.name)))]


def checkpoint(session_id: SessionId, generation: int, checkpoint_ms: int, shift_ms: int) -> list[Entry]:
    return [Entry(_CHECKPOINT, (session_id, generation, checkpoint_ms, shift_ms))]


def reopen(session_id: SessionId, generation: int) -> list[Entry]:
    return [Entry(_REOPEN, (session_id, generation))]


def end(session_id: SessionId, generation: int, duration_ms: int, server: UUID, *, was_open: bool) -> list[Entry]:
    """Note that the session cannot go on any more. Unless it `was_open` in this server, it stays interrupted."""
    notified = Entry(_NOTIFY_ROOM_OF_SESSION, (session_id, messages.changed_room("", server)))
    return [Entry(_END, (session_id, generation, duration_ms, was_open)), notified]


def release(session_id: SessionId, generation: int, to: UUID | None, server: UUID) -> list[Entry]:
    """Give a session of `server` up, so that another one can have it. `to` is the one that has asked for it."""
    message = (None, None) if to is None else (messages.channel(to), messages.encode(messages.Released(session_id)))
    return [Entry(_RELEASE, (session_id, generation, *message, server))]


def put_room(room: RoomRecord, max_unused: int, oldest_waiting_ms: int, server: UUID) -> list[Entry]:
    """Write a room; see `rows.put_room`. The other servers get a message."""
    pruned = Entry(_PRUNE_ROOMS, (oldest_waiting_ms, room.name, max_unused))
    return [Entry(_PUT_ROOM, astuple(room)), pruned, notify_room(room.name, server)]


def notify_room(name: str, server: UUID) -> Entry:
    """Send the other servers that a room has changed."""
    return Entry(_NOTIFY_ROOM, (messages.changed_room(name, server),))


def answer_room(name: str, server: UUID, asker: UUID, outcome: Outcome) -> list[Entry]:
    """Answer a server that has asked for a room, and give the room up if the answer is so."""
    sent = (messages.channel(asker), messages.encode(messages.RoomAnswer(name, outcome)))
    return [Entry(_RELEASE_ROOM, (name, server, *sent)) if outcome is Outcome.RELEASED else Entry(_REFUSE_ROOM, sent)]


def storable(text: str) -> str:
    """Return the text without NUL, which PostgreSQL has in no text."""
    return text.replace("\0", "\ufffd")
