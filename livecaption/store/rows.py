"""Convert sessions and finals to rows and back. Pure.

Everything to be written is a statement with its values. Each may be executed twice; the second time it does nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from enum import Enum
from typing import Any

from livecaption.events import CaptionWord, Final, SpeakerNamed, TranslatedText, Translation, Turn
from livecaption.recognition import SessionId

Statement = tuple[str, tuple[Any, ...]]
Numbered = tuple[int, Final | Translation]
"""A final or a translation with the number of its event."""


class SessionState(Enum):
    """State of a stored session."""

    OPEN = "open"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    """The server crashed while the session was open."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """Data that a restarted server needs to go on with a session.

    Attributes:
        start: message that started the session.
        resume_token_hash, reader_token_hash: see `live.tokens`; without reader token the session is not private.
    """

    start: str
    resume_token_hash: str
    reader_token_hash: str | None


@dataclass(frozen=True, slots=True)
class NewSession:
    """Data of a session at its beginning.

    Attributes:
        id: id of the session.
        title: title for people; may be empty.
        language: the requested one; None: that of the first final.
        started_at_ms: time of the Unix clock.
        private: whether readers need a token.
        resumption: None: the session cannot go on after a crash of the server.
        room: name of the room that it is a part of; None: of none.
        event: number of the event of that room.
    """

    id: SessionId
    title: str
    language: str | None
    started_at_ms: int
    private: bool = False
    resumption: Resumption | None = None
    room: str | None = None
    event: int = 0


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session in the store.

    Attributes:
        number: no other session has or had it. Later sessions have greater ones, except those that were restored.
        duration_ms: in stream time; up to the last final while the session is open.
        n_finals: number of finals with text.
        n_speakers: the highest number of a speaker; 0: nobody has one.
        names: the names of speakers who have one, by their numbers.
        room, room_title: name and title of the room that it is a part of, or the title of the first part of its event;
            None: of none.
    """

    number: int
    id: SessionId
    title: str
    language: str | None
    private: bool
    state: SessionState
    started_at_ms: int
    duration_ms: int
    n_finals: int
    n_speakers: int
    names: Mapping[int, str] = field(hash=False)
    room: str | None
    room_title: str | None

    @property
    def position(self) -> tuple[int, int]:
        """The place of the session among others, by its beginning."""
        return self.started_at_ms, self.number


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """A room in the store. Times are those of the Unix clock.

    Attributes:
        publisher_token_hash, reader_token_hash: see `live.tokens`; without reader token the room is not private.
        ended_at_ms: time at which its publisher ended the event; None: it goes on.
        event: number of the present event, whose parts its readers see; 0: no part has begun yet.
    """

    name: str
    title: str
    publisher_token_hash: str
    reader_token_hash: str | None
    created_at_ms: int
    ended_at_ms: int | None = None
    event: int = 0

    def waits(self, oldest_ms: int) -> bool:
        """Return True if the room waits for its first part, and was made at `oldest_ms` or later."""
        return self.event == 0 and self.ended_at_ms is None and self.created_at_ms >= oldest_ms


@dataclass(frozen=True, slots=True)
class InterruptedSession:
    """A session that can go on.

    Attributes:
        generation: number of servers that had the session before.
        interrupted_at_ms: time at which it was found interrupted first, by the Unix clock.
        checkpoint_ms: length of the audio that is transcribed or silent.
        shift_ms: time without audio before the audio that comes next.
        transcribed_ms: the end of the audio of each channel's newest final; the key is None if channels are mixed.
        events: all finals and translations in the order of their events, with the numbers of these.
    """

    record: SessionRecord
    resumption: Resumption
    generation: int
    interrupted_at_ms: int
    checkpoint_ms: int
    shift_ms: int
    transcribed_ms: Mapping[int | None, int]
    events: tuple[Numbered, ...]

    @property
    def finals(self) -> tuple[Final, ...]:
        """All finals in the order of their events."""
        return tuple(event for _, event in self.events if isinstance(event, Final))

    def resume_ms(self, channels: Iterable[int | None]) -> int:
        """Return the length of the audio that none of these channels needs again.

        For each channel that is the checkpoint, or the end of its newest final if that is later.
        """
        return min(max(self.checkpoint_ms, self.transcribed_ms.get(channel, 0)) for channel in channels)


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session that a server may have, as all servers that share the store find it.

    Attributes:
        generation: see `InterruptedSession`.
        is_owned: whether a server has it, or had it when it died a moment ago.
        resumption: None: it cannot go on in another server.
        interrupted_at_ms: see `InterruptedSession`; None: it is not interrupted.
    """

    record: SessionRecord
    generation: int
    is_owned: bool
    resumption: Resumption | None
    interrupted_at_ms: int | None


SESSION_COLUMNS = (
    "session.number, id, session.title, language, private, state, started_at_ms, duration_ms, n_finals, "
    "n_speakers, "
    "(SELECT json_group_array(json_array(speaker, name)) FROM speaker_name WHERE session = session.number), "
    "(SELECT name FROM room WHERE room.number = session.room), "
    "(SELECT coalesce(nullif(title, ''), (SELECT title FROM session AS first WHERE first.room = session.room "
    "AND first.event = session.event ORDER BY first.started_at_ms, first.number LIMIT 1)) "
    "FROM room WHERE room.number = session.room)"
)
ENDED_AT_MS = "coalesce(ended_at_ms, started_at_ms + duration_ms)"
"""The end of a session that is not open; where an earlier version has written it, that of its audio."""
ROOM_COLUMNS = "name, title, publisher_token_hash, reader_token_hash, created_at_ms, ended_at_ms, event"
UNUSED_ROOM = "NOT EXISTS (SELECT 1 FROM session WHERE session.room = room.number)"
WAITING_ROOM = "event = 0 AND ended_at_ms IS NULL AND created_at_ms >= ?"
"""Condition for unused rooms: the room waits for its first part (`RoomRecord.waits`)."""
FINAL_COLUMNS = "utterance, text, start_ms, end_ms, language, confidence, latency_ms, words, channel, turns"
TRANSLATIONS_COLUMN = (
    "(SELECT json_group_array(json_array(language, text)) FROM "
    "(SELECT language, text FROM translation WHERE translation.final = final.number ORDER BY seq))"
)
"""The value that `with_translations` reads."""
TRANSLATION_COLUMNS = "utterance, translation.language, translation.text"
"""The fields of a `Translation`."""


def begin(session: NewSession, owner: str | None = None) -> list[Statement]:
    """Write a session that begins. `owner` is the process that has it, where several share the file."""
    begun: Statement = (
        "INSERT INTO session (id, title, language, private, started_at_ms, state, event, room, owner) "
        "VALUES (?, ?, ?, ?, ?, 'open', ?, (SELECT number FROM room WHERE name = ?), ?) ON CONFLICT DO NOTHING",
        (
            session.id,
            session.title,
            session.language,
            session.private,
            session.started_at_ms,
            session.event,
            session.room,
            owner,
        ),
    )
    if session.resumption is None:
        return [begun]
    resumption = session.resumption
    resumable: Statement = (
        "INSERT INTO resumption (session, start, resume_token_hash, reader_token_hash) "
        "SELECT number, ?, ?, ? FROM session WHERE id = ? ON CONFLICT DO NOTHING",
        (resumption.start, resumption.resume_token_hash, resumption.reader_token_hash, session.id),
    )
    return [begun, resumable]


def append(session_id: SessionId, final: Final, seq: int, shift_ms: int = 0) -> Statement:
    """Return a statement that writes a final. If the session was deleted meanwhile, it writes nothing.

    `shift_ms` is the time without audio before it.
    """
    return (
        f"INSERT INTO final (session, {FINAL_COLUMNS}, seq, shift_ms) "
        "SELECT number, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM session WHERE id = ? ON CONFLICT DO NOTHING",
        (*final_to_row(final), seq, shift_ms, session_id),
    )


def translate(session_id: SessionId, translation: Translation, seq: int) -> Statement:
    """Return a statement that writes the translation of a final, unless that was deleted meanwhile."""
    return (
        "INSERT INTO translation (final, language, text, seq) SELECT final.number, ?, ?, ? "
        "FROM final JOIN session ON session.number = final.session WHERE session.id = ? AND utterance = ? "
        "ON CONFLICT DO NOTHING",
        (translation.language, translation.text, seq, session_id, translation.utterance),
    )


def name_speaker(session_id: SessionId, named: SpeakerNamed) -> Statement:
    """Return a statement that writes the name of a speaker, unless the session was deleted meanwhile."""
    return (
        "INSERT INTO speaker_name (session, speaker, name) SELECT number, ?, ? FROM session WHERE id = ? "
        "ON CONFLICT DO UPDATE SET name = excluded.name",
        (named.speaker, named.name, session_id),
    )


def checkpoint(session_id: SessionId, checkpoint_ms: int, shift_ms: int = 0) -> Statement:
    """Note that all audio before `checkpoint_ms` is in written finals, or silent.

    `shift_ms` is the time without audio before the rest.
    """
    return (
        "UPDATE resumption SET checkpoint_ms = max(checkpoint_ms, ?), "
        "shift_ms = CASE WHEN checkpoint_ms <= ? THEN ? ELSE shift_ms END "
        "WHERE session = (SELECT number FROM session WHERE id = ?)",
        (checkpoint_ms, checkpoint_ms, shift_ms, session_id),
    )


def reopen(session_id: SessionId) -> list[Statement]:
    """Note that the publisher has resumed the session."""
    return [
        ("UPDATE session SET state = 'open' WHERE id = ? AND state = 'interrupted'", (session_id,)),
        (
            "UPDATE resumption SET interrupted_at_ms = NULL WHERE session = (SELECT number FROM session WHERE id = ?)",
            (session_id,),
        ),
    ]


def end(session_id: SessionId, duration_ms: int) -> list[Statement]:
    """Note that the session cannot go on any more. If it was never resumed, it stays interrupted."""
    return [
        (
            "UPDATE session SET state = 'ended', duration_ms = max(duration_ms, ?) WHERE id = ? AND state = 'open'",
            (duration_ms, session_id),
        ),
        ("DELETE FROM resumption WHERE session = (SELECT number FROM session WHERE id = ?)", (session_id,)),
    ]


def put_room(room: RoomRecord, max_unused: int, oldest_waiting_ms: int) -> list[Statement]:
    """Write a new room, or what has changed of a known one.

    Of the rooms without sessions only the newest `max_unused` stay, and this one, whose next part is written after it.
    Those that wait for their first part, and were made at `oldest_waiting_ms` or later, stay all.
    """
    return [
        (
            f"INSERT INTO room ({ROOM_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "title = excluded.title, reader_token_hash = excluded.reader_token_hash, "
            "ended_at_ms = excluded.ended_at_ms, event = excluded.event",
            astuple(room),
        ),
        (
            "DELETE FROM room WHERE name <> ? AND number IN (SELECT number FROM room "
            f"WHERE {UNUSED_ROOM} AND NOT ({WAITING_ROOM}) "
            "ORDER BY number DESC LIMIT -1 OFFSET ?)",
            (room.name, oldest_waiting_ms, max_unused),
        ),
    ]


def final_to_row(final: Final) -> tuple[Any, ...]:
    """Return the values of `FINAL_COLUMNS`."""
    words = turns = None
    if final.words is not None:
        words = _compact([_word_to_list(word) for word in final.words])
    if final.turns is not None:
        # The text is there already.
        turns = _compact([[turn.speaker, len(turn.text), turn.start_ms, turn.end_ms] for turn in final.turns])
    return (
        final.utterance,
        final.text,
        final.start_ms,
        final.end_ms,
        final.language,
        final.confidence,
        final.latency_ms,
        words,
        final.channel,
        turns,
    )


def final_from_row(row: Sequence[Any]) -> Final:
    """Return the final of a row with the values of `FINAL_COLUMNS`."""
    utterance, text, start_ms, end_ms, language, confidence, latency_ms, words, channel, turns = row
    return Final(
        utterance,
        text,
        start_ms,
        end_ms,
        language,
        confidence,
        latency_ms,
        None if words is None else tuple(CaptionWord(*word) for word in json.loads(words)),
        channel,
        turns=None if turns is None else tuple(_turns(text, json.loads(turns))),
    )


def _word_to_list(word: CaptionWord) -> list[Any]:
    speaker = () if word.speaker is None else (word.speaker,)
    return [word.word, word.start_ms, word.end_ms, word.confidence, *speaker]


def _turns(text: str, stored: Sequence[Sequence[Any]]) -> Iterator[Turn]:
    begin = 0
    for speaker, n_characters, start_ms, end_ms in stored:
        yield Turn(speaker, text[begin : begin + n_characters], start_ms, end_ms)
        begin += n_characters


def _compact(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def with_translations(final: Final, column: str) -> Final:
    """Return the final with its translations, which are the value of `TRANSLATIONS_COLUMN`."""
    translations = tuple(TranslatedText(*each) for each in json.loads(column))
    return replace(final, translations=translations) if translations else final


def session_from_row(row: tuple[Any, ...]) -> SessionRecord:
    """Return the session of a row with the values of `SESSION_COLUMNS`."""
    number, session_id, title, language, private, state, started_at_ms, duration_ms, n_finals, *rest = row
    n_speakers, names, *room = rest
    return SessionRecord(
        number,
        SessionId(session_id),
        title,
        language,
        bool(private),
        SessionState(state),
        started_at_ms,
        duration_ms,
        n_finals,
        n_speakers,
        dict(json.loads(names)),
        *room,
    )
