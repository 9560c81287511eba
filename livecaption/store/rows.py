"""Sessions and finals <-> rows. Pure.

What is to be written are statements with their values; each may be executed twice, and does nothing the second time.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from livecaption.events import CaptionWord, Final
from livecaption.recognition import SessionId

Statement = tuple[str, tuple[Any, ...]]


class SessionState(Enum):
    """What became of a session."""

    OPEN = "open"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    """The server died while it was open."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a server that was started anew must know to go on with a session.

    Attributes:
        start: the message by which the session was started.
        resume_token_hash, reader_token_hash: see `live.tokens`; no reader token: it is not private.
    """

    start: str
    resume_token_hash: str
    reader_token_hash: str | None


@dataclass(frozen=True, slots=True)
class NewSession:
    """What is known of a session when it begins.

    Attributes:
        language: as asked for; None: that of the first final.
        started_at_ms: of the Unix clock.
        resumption: None: it cannot go on after the death of the server.
    """

    id: SessionId
    title: str
    language: str | None
    started_at_ms: int
    private: bool = False
    resumption: Resumption | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as it is kept.

    Attributes:
        number: later sessions have greater ones.
        duration_ms: of stream time; while it is open, up to the last final.
        n_finals: those that say something.
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


@dataclass(frozen=True, slots=True)
class InterruptedSession:
    """A session that can go on.

    Attributes:
        generation: how many times a server was started since it began.
        interrupted_at_ms: when the first server was started that found it so, of the Unix clock.
        checkpoint_ms: stream time; all audio before it is in the finals or silent.
        finals: all of them, in spoken order, with the numbers of their events.
    """

    record: SessionRecord
    resumption: Resumption
    generation: int
    interrupted_at_ms: int
    checkpoint_ms: int
    finals: tuple[tuple[int, Final], ...]

    @property
    def resume_ms(self) -> int:
        """Where its audio goes on: at the checkpoint, or later where the newest finals were released together."""
        return max([self.checkpoint_ms, *(final.end_ms for _, final in self.finals[-1:])])


SESSION_COLUMNS = "number, id, title, language, private, state, started_at_ms, duration_ms, n_finals"
FINAL_COLUMNS = "utterance, text, start_ms, end_ms, language, confidence, latency_ms, words"


def begin(session: NewSession) -> list[Statement]:
    begun: Statement = (
        "INSERT INTO session (id, title, language, private, started_at_ms, state) VALUES (?, ?, ?, ?, ?, 'open') "
        "ON CONFLICT DO NOTHING",
        (session.id, session.title, session.language, session.private, session.started_at_ms),
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


def append(session_id: SessionId, final: Final, seq: int) -> Statement:
    """Of a session that was deleted meanwhile nothing is written."""
    return (
        f"INSERT INTO final (session, {FINAL_COLUMNS}, seq) "
        "SELECT number, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM session WHERE id = ? ON CONFLICT DO NOTHING",
        (*final_to_row(final), seq, session_id),
    )


def checkpoint(session_id: SessionId, checkpoint_ms: int) -> Statement:
    """Note that all audio before `checkpoint_ms` is in the finals that are written, or silent."""
    return (
        "UPDATE resumption SET settled_ms = max(settled_ms, ?) "
        "WHERE session = (SELECT number FROM session WHERE id = ?)",
        (checkpoint_ms, session_id),
    )


def reopen(session_id: SessionId) -> list[Statement]:
    """Its publisher has come back to the session."""
    return [
        ("UPDATE session SET state = 'open' WHERE id = ? AND state = 'interrupted'", (session_id,)),
        (
            "UPDATE resumption SET interrupted_at_ms = NULL WHERE session = (SELECT number FROM session WHERE id = ?)",
            (session_id,),
        ),
    ]


def end(session_id: SessionId, duration_ms: int) -> list[Statement]:
    """It cannot go on any more. If nobody came back to it, it stays interrupted."""
    return [
        (
            "UPDATE session SET state = 'ended', duration_ms = max(duration_ms, ?) WHERE id = ? AND state = 'open'",
            (duration_ms, session_id),
        ),
        ("DELETE FROM resumption WHERE session = (SELECT number FROM session WHERE id = ?)", (session_id,)),
    ]


def final_to_row(final: Final) -> tuple[Any, ...]:
    """Values of `FINAL_COLUMNS`."""
    words = None
    if final.words is not None:
        words = json.dumps(
            [[word.word, word.start_ms, word.end_ms, word.confidence] for word in final.words],
            ensure_ascii=False,
            separators=(",", ":"),
        )
    return (
        final.utterance,
        final.text,
        final.start_ms,
        final.end_ms,
        final.language,
        final.confidence,
        final.latency_ms,
        words,
    )


def final_from_row(row: tuple[Any, ...]) -> Final:
    """Of a row with the values of `FINAL_COLUMNS`."""
    utterance, text, start_ms, end_ms, language, confidence, latency_ms, words = row
    return Final(
        utterance,
        text,
        start_ms,
        end_ms,
        language,
        confidence,
        latency_ms,
        None if words is None else tuple(CaptionWord(*word) for word in json.loads(words)),
    )


def session_from_row(row: tuple[Any, ...]) -> SessionRecord:
    """Of a row with the values of `SESSION_COLUMNS`."""
    number, session_id, title, language, private, state, started_at_ms, duration_ms, n_finals = row
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
    )
