"""Encode and decode the messages of the native protocol, version 1, for both of its ends. Pure.

requests  publisher -> server  `encode_request`; read by `live.dialects.native`, which checks their limits
events    server -> all        `encode`, `parse_event`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from livecaption.events import (
    Ack,
    End,
    ErrorReport,
    Event,
    Final,
    Flushed,
    Gap,
    Partial,
    Pong,
    Ready,
    Room,
    Snapshot,
    SpeechEnd,
    SpeechStart,
    Status,
    Translation,
)
from livecaption.wire import from_plain, to_plain


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


_EVENTS: dict[str, type[Event]] = {
    kind.type: kind
    for kind in (
        *(Ready, SpeechStart, Partial, SpeechEnd, Final, Translation, Flushed, Pong),
        *(Ack, Status, ErrorReport, Gap, Snapshot, Room, End),
    )
}
_OPTIONAL = frozenset(
    {
        *("words", "retry_after_s", "reader_token", "hotwords", "channel", "partials", "room", "tracks"),
        "translations",
    }
)
"""Fields that are left out if they are None. All other fields are always present."""


def encode_request(request: Resume | Flush | Stop | Ping) -> str:
    """Encode a request that a publisher sends after its first `start`, or as `start` when it comes back."""
    fields = to_plain(request)
    if isinstance(request, Resume):
        return json.dumps({"type": "start", "resume": fields})
    return json.dumps({"type": request.type, **fields})


def encode(event: Event, seq: int | None) -> str:
    """Encode an event. Optional fields that are None are left out.

    An event for a single connection, which is not part of the session, has no number.
    """
    number = {} if seq is None else {"seq": seq}
    return _compact({"type": event.type, **number, **plain(event)})


def plain(event: Event) -> dict[str, Any]:
    """Return the fields of an event as they are sent."""
    fields: dict[str, Any] = to_plain(event, _OPTIONAL)
    return fields


def encode_snapshot(snapshot: Snapshot, seq: int, finals: Sequence[str]) -> str:
    """Encode a snapshot whose finals are already encoded by `encode_final`, because those of a long session take 50 ms.

    The finals of the event itself are ignored.
    """
    # Within JSON text each quotation mark follows a backslash, so this is found only as the key.
    return encode(replace(snapshot, finals=()), seq).replace('"finals":[]', f'"finals":[{",".join(finals)}]', 1)


def encode_final(final: Final) -> str:
    """Encode a final as a part of a snapshot."""
    return _compact(to_plain(final, _OPTIONAL))


def parse_event(fields: Mapping[str, Any]) -> Event | None:
    """Read the fields of a message as an event. Unknown fields, words and types come from a newer server.

    Returns:
        The event, or None if its type is unknown.

    Raises:
        ValueError: a field of a known type is missing or has a value of another type.
    """
    name = fields.get("type")
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        return None
    event: Event = from_plain(kind, fields, lenient=True)
    return event


def _compact(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
