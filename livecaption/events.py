"""What a session tells its readers: one frozen dataclass for each event of the protocol.

The fields are the fields on the wire, in milliseconds of stream time. `type` is the class's word
on the wire. Sequence numbers are not here: whoever sends events counts them.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from livecaption.errors import LivecaptionError

__all__ = [
    "PROTOCOL_VERSION",
    "Ack",
    "CaptionWord",
    "End",
    "EndReason",
    "ErrorReport",
    "Event",
    "Final",
    "Flushed",
    "Gap",
    "Partial",
    "Pong",
    "Ready",
    "Snapshot",
    "SpeechEnd",
    "SpeechStart",
    "Status",
]

PROTOCOL_VERSION = 1
"""The version of the events and of the messages of `messages`."""

EndReason = Literal["silence", "max_length", "flush", "discard", "stop", "disconnect"]
"""Why an utterance ended. After `discard` its final is empty: the publisher has taken the audio back."""


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    type: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """The stream is accepted; audio may flow. For the publisher's eyes only: it carries the session's secrets.

    `resume_window_ms` is how long the session waits for a publisher whose connection is lost; 0: it cannot be resumed.
    `reader_token` is None unless the session is private.
    """

    type: ClassVar[str] = "ready"
    session: str
    resume_token: str
    protocol: int
    model: str
    language: str | None
    received_ms: int
    resume_window_ms: int = 0
    private: bool = False
    reader_token: str | None = None


@dataclass(frozen=True, slots=True)
class SpeechStart(Event):
    """Somebody began to speak. Followed by exactly one `Final` of the same number."""

    type: ClassVar[str] = "speech_start"
    utterance: int
    start_ms: int


@dataclass(frozen=True, slots=True)
class Partial(Event):
    """The open utterance so far. `stable` is a prefix of `text` that later partials keep."""

    type: ClassVar[str] = "partial"
    utterance: int
    revision: int
    text: str
    stable: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class SpeechEnd(Event):
    """The endpoint of an utterance; its final is being made."""

    type: ClassVar[str] = "speech_end"
    utterance: int
    end_ms: int
    reason: EndReason


@dataclass(frozen=True, slots=True)
class CaptionWord:
    """One word of a final, in stream time."""

    word: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Final(Event):
    """The caption of one utterance; never changed. `text` may be empty.

    `latency_ms` counts from the arrival of the last voiced audio to the making of this event.
    `words` is None unless the stream asked for words.
    """

    type: ClassVar[str] = "final"
    utterance: int
    text: str
    start_ms: int
    end_ms: int
    language: str | None
    confidence: float
    latency_ms: int
    words: tuple[CaptionWord, ...] | None = None


@dataclass(frozen=True, slots=True)
class Flushed(Event):
    """All finals of audio that came before `flush` are out."""

    type: ClassVar[str] = "flushed"
    id: str | int | None


@dataclass(frozen=True, slots=True)
class Pong(Event):
    """Answer to `ping`."""

    type: ClassVar[str] = "pong"
    id: str | int | None


@dataclass(frozen=True, slots=True)
class Ack(Event):
    """Audio safely taken over, once a second."""

    type: ClassVar[str] = "ack"
    received_ms: int


@dataclass(frozen=True, slots=True)
class Status(Event):
    """How the server does. `lag_ms` is the age of the oldest unanswered request of this stream."""

    type: ClassVar[str] = "status"
    state: Literal["ready", "recovering", "overloaded", "draining"]
    partials: Literal["on", "slow", "paused"]
    lag_ms: int


@dataclass(frozen=True, slots=True)
class ErrorReport(Event):
    """Something went wrong; `fatal` says whether the stream ends."""

    type: ClassVar[str] = "error"
    code: str
    message: str
    fatal: bool
    retry_after_s: float | None = None

    @classmethod
    def of(cls, error: LivecaptionError, *, fatal: bool | None = None) -> Self:
        """Report an error; `fatal` overrides what the error itself says."""
        return cls(error.code, error.message, error.fatal if fatal is None else fatal, error.retry_after_s)


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """What was said between these times has no captions here: they, or their audio, are lost to this peer."""

    type: ClassVar[str] = "gap"
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot(Event):
    """All that a session has said so far, for a reader who comes late or has fallen behind.

    `finals` come without those that are empty and without words; `partial` is the open utterance's newest. Readers come
    back with `epoch` and a number: see `live.event_log`.
    """

    type: ClassVar[str] = "snapshot"
    title: str
    language: str | None
    finals: tuple[Final, ...]
    partial: Partial | None
    epoch: str


@dataclass(frozen=True, slots=True)
class End(Event):
    """Nothing follows."""

    type: ClassVar[str] = "end"
    received_ms: int
    utterances: int
    reason: Literal["stop", "disconnect", "draining", "error"]
