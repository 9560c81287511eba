"""The requests of a publisher, in any protocol. Pure.

A dialect turns messages into commands; the connection executes them, in order.
"""

from dataclasses import dataclass, field

from livecaption.pipeline.options import StreamOptions


@dataclass(frozen=True, slots=True)
class RoomClaim:
    """The room that a publisher wants to speak in.

    Attributes:
        name: its name, valid or not.
        secret: its publisher secret. It is no part of the repr.
        take_over: whether a session that runs in the room is to end.
        former: the resume token of this publisher's last session, which may still run; empty: none. It is no part of
            the repr.
    """

    name: str
    secret: str = field(repr=False)
    take_over: bool = False
    former: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Open:
    """Open a session.

    Attributes:
        options: the options of its stream.
        start: text from which the dialect reads these options again when the server has died; empty where it is not
            resumable. It has no secret.
        room: the room that the session is to be a part of; None: it is no part of one.
    """

    options: StreamOptions
    start: str = ""
    room: RoomClaim | None = None


@dataclass(frozen=True, slots=True)
class Reattach:
    """Go on with a session whose connection was lost.

    Attributes:
        session: its id.
        token: its resume token.
        last_seq: the number of the last event that the client received.
        audio_from_ms: stream time at which the audio begins that the client can send again.
    """

    session: str
    token: str
    last_seq: int
    audio_from_ms: int = 0


@dataclass(frozen=True, slots=True)
class Configure:
    """Replace the options, for the audio that follows. Title, privacy and `keep` stay those of `Open`."""

    options: StreamOptions


@dataclass(slots=True)  # not frozen: one is made for each message, and freezing takes 0.5 us
class Audio:
    """Take audio: bytes of the encoding in the options, cut anywhere."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """End the open utterance now; `Flushed` with this tag follows its final."""

    tag: str | int | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """Drop the audio of the open utterance."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with a `Pong` of this tag, behind the events that there are."""

    tag: str | int | None = None


@dataclass(frozen=True, slots=True)
class NameSpeaker:
    """Give the speaker of this number a name, which was checked."""

    speaker: int
    name: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Take no more audio, send the finals, and end the session. `end_room`: its room ends too."""

    end_room: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this to the connection alone; it is no event of the session."""

    message: str | bytes


Control = Open | Reattach | Configure | Flush | Discard | Ping | NameSpeaker | Finish | Reply
"""Commands that never wait; taking audio may."""

Command = Audio | Control
