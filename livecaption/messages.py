"""Encode and decode the messages of the native protocol, version 1, for both of its ends. Pure.

requests  publisher -> server  `encode_request`; read by `live.dialects.native`, which checks their limits
events    server -> all        `encode`, `parse_event`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, get_args

from livecaption.events import Event, Final, Snapshot
from livecaption.wire import from_plain, to_plain

Encoding = Literal["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "mulaw", "alaw", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpointing:
    """The endpoints that a publisher asks for. The server chooses what is None.

    Attributes:
        preset: one for short delays, one for whole sentences, or one between them.
        silence_ms: silence that ends an utterance, 20 to 10000.
        max_utterance_ms: length at which speech is cut, 2000 to 28000.
    """

    preset: Literal["fast", "balanced", "accurate"] | None = None
    silence_ms: int | None = None
    max_utterance_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RoomEntry:
    """The room that a stream is to be a part of, so that readers have one link for all parts of an event.

    Attributes:
        name: its name.
        secret: 16 to 200 characters. The client that begins the first part chooses it.
        take_over: whether a stream that runs in the room is to end. Otherwise the server rejects this one.
        former: `Ready.resume_token` of this program's last stream in the room. If that is the part that runs, it ends
            without `take_over`, also if the server has not noticed its loss.
    """

    name: str
    secret: str = field(repr=False)
    take_over: bool = False
    former: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Publisher -> server, first message: the `start` of a stream. These are its fields and their defaults.

    Attributes:
        encoding: of samples; or `auto`: a container such as WebM or MP3.
        sample_rate: in Hz, 8000 to 96000; ignored for `auto`.
        channels: 1 to 8, interleaved. For `auto` it is ignored, or the largest number of channels that are kept apart.
            None: 1, or 2 for `auto` with `separate`.
        channel_mode: `mix`, or `separate`: each channel is captioned apart, and the events of utterances have its
            number. It takes as much of the server as a stream.
        language: code, tag of BCP 47 or English name, such as `en`, `en-US` or `English`; None: detect it in each
            utterance; several: those to expect.
        task: `transcribe`, or `translate` to English.
        translate: languages into which each final is translated; a `Translation` follows it for each.
        partials: whether the server sends captions of open utterances.
        words: whether finals have the times of their words.
        hotwords: names and terms that are likely to occur.
        prompt: text that precedes the audio, or is similar to it.
        endpointing: None: the server's own.
        title: title that readers see.
        private: whether readers need the `reader_token` of `Ready`.
        keep: whether the transcript is stored.
        room: the room that the stream is a part of.
        speakers: whether speakers are distinguished; a number from 1 to 50: so many are expected, and there are never
            more. If the channels are apart, each is a speaker.
    """

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = 16_000
    channels: int | None = None
    channel_mode: Literal["mix", "separate"] = "mix"
    language: str | tuple[str, ...] | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    translate: tuple[str, ...] = ()
    partials: bool = True
    words: bool = False
    hotwords: tuple[str, ...] = ()
    prompt: str = ""
    endpointing: Endpointing | None = None
    title: str = ""
    private: bool = False
    keep: bool = True
    room: RoomEntry | None = None
    speakers: bool | int = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Publisher -> server, first message: the `start` of a publisher that comes back.

    `last_seq` is the number of the last event that it received. `audio_from_ms` is the beginning of the audio that it
    can send again.
    """

    session: str
    token: str
    last_seq: int
    audio_from_ms: int = 0


@dataclass(frozen=True, slots=True)
class Flush:
    """Publisher -> server: end the open utterance now."""

    type: ClassVar[str] = "flush"
    id: str | int | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Publisher -> server: there is no more audio. `end_room` ends the event too, beyond this part of its room."""

    type: ClassVar[str] = "stop"
    end_room: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """Publisher -> server: answer with `pong`."""

    type: ClassVar[str] = "ping"
    id: str | int | None


@dataclass(frozen=True, slots=True)
class Name:
    """Publisher -> server: this speaker has this name, of 1 to 80 characters."""

    type: ClassVar[str] = "name"
    speaker: int
    name: str


_EVENTS: dict[str, type[Event]] = {kind.type: kind for kind in get_args(Event)}
_OPTIONAL = frozenset(
    {
        *("words", "retry_after_s", "reader_token", "hotwords", "channel", "partials", "room", "tracks"),
        *("translations", "turns", "speakers", "names", "CaptionWord.speaker"),
    }
)
"""Fields of events that are left out if they are None. All other fields are always present."""
_UNSET = frozenset({"preset", "silence_ms", "max_utterance_ms", "former"})
"""The same within the fields of `start`."""


def encode_request(request: StreamSettings | Resume | Flush | Stop | Ping | Name) -> str:
    """Encode what a publisher sends. Settings that are the defaults are left out."""
    if isinstance(request, StreamSettings):
        changed = {each.name for each in fields(request) if getattr(request, each.name) != each.default}
        given = to_plain(request, _UNSET)
        return json.dumps({"type": "start"} | {name: given[name] for name in given if name in changed})
    if isinstance(request, Resume):
        return json.dumps({"type": "start", "resume": to_plain(request)})
    return json.dumps({"type": request.type, **to_plain(request)})


def encode(event: Event, seq: int | None) -> str:
    """Encode an event. Optional fields that are None are left out.

    An event for a single connection, which is not part of the session, has no number.
    """
    number = {} if seq is None else {"seq": seq}
    return _compact({"type": event.type, **number, **plain(event)})


def plain(event: Event) -> dict[str, Any]:
    """Return the fields of an event as they are sent."""
    sent: dict[str, Any] = to_plain(event, _OPTIONAL)
    return sent


def encode_snapshot(snapshot: Snapshot, seq: int, finals: Sequence[str]) -> str:
    """Encode a snapshot whose finals are already encoded by `encode_final`, because those of a long session take 50 ms.

    The finals of the event itself are ignored.
    """
    # Within JSON text each quotation mark follows a backslash, so this is found only as the key.
    return encode(replace(snapshot, finals=()), seq).replace('"finals":[]', f'"finals":[{",".join(finals)}]', 1)


def encode_final(final: Final) -> str:
    """Encode a final as a part of a snapshot."""
    return _compact(to_plain(final, _OPTIONAL))


def parse_event(message: Mapping[str, Any]) -> Event | None:
    """Read the fields of a message as an event. Unknown fields, words and types come from a newer server.

    Returns:
        The event, or None if its type is unknown.

    Raises:
        ValueError: a field of a known type is missing or has a value of another type.
    """
    name = message.get("type")
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        return None
    event: Event = from_plain(kind, message, lenient=True)
    return event


def _compact(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
