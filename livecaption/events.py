"""Define the events that a session sends to its readers: one frozen dataclass for each event of the protocol.

The fields are the fields on the wire, in milliseconds of stream time. `type` is the class's name on the wire. Sequence
numbers are not here, because the sender counts the events.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, TypeAlias, TypeVar

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
    "HotwordUse",
    "Partial",
    "Pong",
    "Ready",
    "Room",
    "RoomAccess",
    "RoomPart",
    "Snapshot",
    "SpeakerName",
    "SpeakerNamed",
    "SpeechEnd",
    "SpeechStart",
    "Status",
    "TranslatedText",
    "Translation",
    "Turn",
]

PROTOCOL_VERSION = 1
"""The version of the events and of the messages of `messages`."""

MAX_SPEAKERS = 50
"""The most speakers of a stream, as long as one server runs. It may expect fewer."""

EndReason = Literal["silence", "max_length", "flush", "discard", "stop", "disconnect"]
"""Reason of the end of an utterance. After `discard` its final is empty, because the publisher withdrew the audio."""


@dataclass(frozen=True, slots=True)
class HotwordUse:
    """The use of the publisher's hotwords: `used` of the `given` ones, from the first on, are certain to count.

    Whisper takes a limited number of tokens, so those behind them may be left out.
    """

    given: int
    used: int


@dataclass(frozen=True, slots=True)
class RoomAccess:
    """The room that a session is a part of. `reader_token` is None unless the room is private and the server has it."""

    name: str
    reader_token: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The stream is accepted, and audio may be sent. Only the publisher gets this event, because it has secrets.

    `resume_window_ms` is how long the session waits for a publisher whose connection is lost; 0: it cannot be resumed.
    `reader_token` is None unless the session is private. `hotwords` is None if the publisher named none, and `room` if
    the session is no part of one. `tracks` are the languages into which the finals are translated; None: into none.
    `speakers` is True if speakers are distinguished, else None.
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
    hotwords: HotwordUse | None = None
    room: RoomAccess | None = None
    tracks: tuple[str, ...] | None = None
    speakers: bool | None = None


@dataclass(frozen=True, slots=True)
class SpeechStart:
    """Somebody began to speak. Exactly one `Final` with the same number follows.

    `channel`, here and in the other events of an utterance, is the audio channel, from 0. It is None if the channels
    are mixed.
    """

    type: ClassVar[str] = "speech_start"
    utterance: int
    start_ms: int
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """The open utterance so far. `stable` is a prefix of `text` that later partials keep."""

    type: ClassVar[str] = "partial"
    utterance: int
    revision: int
    text: str
    stable: str
    start_ms: int
    end_ms: int
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """The endpoint of an utterance. Its final follows."""

    type: ClassVar[str] = "speech_end"
    utterance: int
    end_ms: int
    reason: EndReason
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class CaptionWord:
    """One word of a final, in stream time. `speaker` is as in `Turn`."""

    word: str
    start_ms: int
    end_ms: int
    confidence: float
    speaker: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of a final with one speaker.

    `speaker` counts from 1 in the order of the first turns, and never changes. It is None if nobody is certain. The
    texts of all turns, one after the other, are exactly the text of the final: a space stands at the end of a turn.
    """

    speaker: int | None
    text: str
    start_ms: int
    end_ms: int


Spoken = TypeVar("Spoken", CaptionWord, Turn)


@dataclass(frozen=True, slots=True)
class TranslatedText:
    """The text of a final in another language."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Final:
    """The caption of one utterance. It never changes. `text` may be empty.

    `turns` is None unless the stream asked for speakers. It is empty if the text is.

    `latency_ms` is the time from the arrival of the last voiced audio until this event. `words` is None unless the
    stream asked for words. `translations` are those that have come since. They are in snapshots and transcripts, never
    in the event itself; None: there are none.
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
    channel: int | None = None
    translations: tuple[TranslatedText, ...] | None = None
    turns: tuple[Turn, ...] | None = None

    def later(self, by_ms: int) -> Self:
        """Return it with all its times moved."""

        def moved(parts: tuple[Spoken, ...] | None) -> tuple[Spoken, ...] | None:
            return parts and tuple(
                replace(part, start_ms=part.start_ms + by_ms, end_ms=part.end_ms + by_ms) for part in parts
            )

        return replace(
            self,
            start_ms=self.start_ms + by_ms,
            end_ms=self.end_ms + by_ms,
            words=moved(self.words),
            turns=moved(self.turns),
        )


@dataclass(frozen=True, slots=True)
class Translation:
    """The text of a final in another language. Its times are those of the final, which comes before it."""

    type: ClassVar[str] = "translation"
    utterance: int
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class SpeakerName:
    """The name of a speaker, which replaces the number wherever people read it."""

    speaker: int
    name: str


@dataclass(frozen=True, slots=True)
class SpeakerNamed:
    """A speaker has this name from now on, also in the captions so far."""

    type: ClassVar[str] = "name"
    speaker: int
    name: str


@dataclass(frozen=True, slots=True)
class Flushed:
    """All finals of the audio before `flush` have been sent."""

    type: ClassVar[str] = "flushed"
    id: str | int | None


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer to `ping`."""

    type: ClassVar[str] = "pong"
    id: str | int | None


@dataclass(frozen=True, slots=True)
class Ack:
    """The amount of audio that the server has received, once a second."""

    type: ClassVar[str] = "ack"
    received_ms: int


@dataclass(frozen=True, slots=True)
class Status:
    """State of the server for this stream. `lag_ms` is the age of the stream's oldest unanswered request."""

    type: ClassVar[str] = "status"
    state: Literal["ready", "recovering", "overloaded", "draining"]
    partials: Literal["on", "slow", "paused"]
    lag_ms: int


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An error occurred. `fatal` is True if the stream ends."""

    type: ClassVar[str] = "error"
    code: str
    message: str
    fatal: bool
    retry_after_s: float | None = None

    @classmethod
    def of(cls, error: LivecaptionError, *, fatal: bool | None = None) -> Self:
        """Report an error. `fatal` overrides that of the error itself."""
        return cls(error.code, error.message, error.fatal if fatal is None else fatal, error.retry_after_s)


@dataclass(frozen=True, slots=True)
class Gap:
    """There are no captions for the speech between these times: they or their audio are lost for this peer."""

    type: ClassVar[str] = "gap"
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All captions of a session so far, for a reader that comes late or has fallen behind.

    `finals` are those with text, without words. `partial` is the newest one of the open utterance. If the
    channels are kept apart, `partials` has the newest one of each channel; None: there is none, or they are mixed.
    Readers come back with `epoch` and a number: see `live.event_log`. `session` is the id of the session. `tracks` are
    the languages into which its finals are translated; None: into none. `names` are those of speakers who have one, in
    the order of their numbers; None: nobody has.
    """

    type: ClassVar[str] = "snapshot"
    title: str
    language: str | None
    finals: tuple[Final, ...]
    partial: Partial | None
    epoch: str
    partials: tuple[Partial, ...] | None = None
    session: str = ""
    tracks: tuple[str, ...] | None = None
    names: tuple[SpeakerName, ...] | None = None


@dataclass(frozen=True, slots=True)
class RoomPart:
    """One session of a room. `duration_ms` is that of its captions so far."""

    session: str
    title: str
    started_at_ms: int
    duration_ms: int
    state: Literal["open", "ended", "interrupted"]


@dataclass(frozen=True, slots=True)
class Room:
    """The state of a room, for its readers. It comes first, and again whenever it changes.

    `session` is the part that runs, or None. `away` is True if the connection of its publisher is lost.
    """

    type: ClassVar[str] = "room"
    name: str
    title: str
    private: bool
    state: Literal["waiting", "live", "break", "ended"]
    session: str | None
    away: bool
    parts: tuple[RoomPart, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The last event of a session. After `replaced` another publisher speaks in the room."""

    type: ClassVar[str] = "end"
    received_ms: int
    utterances: int
    reason: Literal["stop", "disconnect", "draining", "error", "replaced"]


StreamedEvent: TypeAlias = (
    Ready
    | SpeechStart
    | Partial
    | SpeechEnd
    | Final
    | Translation
    | SpeakerNamed
    | Flushed
    | Pong
    | Ack
    | Status
    | ErrorReport
    | Gap
    | End
)
"""The events that a publisher receives."""

Event: TypeAlias = StreamedEvent | Snapshot | Room
"""All events of the protocol. A type checker reports a `match` that forgets one and ends with `assert_never`."""
