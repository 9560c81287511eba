"""The events of Wyoming on the wire: a line of JSON, then data (JSON too), then a payload. Pure.

    {"type": "audio-chunk", "data_length": 40, "payload_length": 2048}\\n<40 bytes of JSON><2048 bytes of audio>

Data may also stand in the line. Lengths are announced, so an event that is too large is refused before it comes.
"""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from livecaption.errors import InvalidMessage, MessageTooBig
from livecaption.live.dialects.json_messages import json_object

MAX_LINE_BYTES = 16 * 1024
MAX_DATA_BYTES = 64 * 1024
"""The names and terms of a large home have some 20 KiB."""
MAX_PAYLOAD_BYTES = 1024 * 1024
"""1 MiB are 32 s of 16 kHz audio. Home Assistant sends 2 KiB at a time."""
CHUNK = "audio-chunk"
"""The type of an event with audio, which is its payload."""
FORMAT = ("rate", "width", "channels")
"""The fields of its data that matter."""
PIECE_BYTES = 32 * 1024
"""Longer audio comes as several events. Converting one takes 1.2 ms of the loop at most. More: others wait. Less: a
recording in one event needs more turns."""
MAX_EVENT_BYTES = MAX_LINE_BYTES + 1 + MAX_DATA_BYTES + MAX_PAYLOAD_BYTES
VERSION = "1.10.2"
"""The version of the library `wyoming` whose events these are. Readers ignore it."""


@dataclass(frozen=True, slots=True)
class WyomingEvent:
    """One event: its type, its data, and its payload, which may be empty."""

    type: str
    data: dict[str, Any]
    payload: bytes = b""


class EventFraming:
    """Cuts the bytes of one connection into events, each a whole one with its line, data and payload.

    Long audio becomes several events with a piece of it each, so that others have the loop between them.
    """

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._waiting = bytearray()
        self._n_searched = 0  # bytes that have no end of a line
        self._n_needed: int | None = None  # bytes of the event; None: its line is not complete
        self._is_audio = False  # whether that event is

    def push(self, data: bytes) -> None:
        """Take bytes, cut anywhere."""
        self._waiting += data

    def next_message(self) -> bytes | None:
        """Return the next event, or None if it is not complete.

        Raises:
            InvalidMessage: it does not begin with a line of JSON that has valid lengths.
            MessageTooBig: it is, or will be, too large.
        """
        if self._pieces:
            return self._pieces.popleft()
        if self._n_needed is None:
            end = self._waiting.find(b"\n", self._n_searched)
            if (len(self._waiting) if end < 0 else end) > MAX_LINE_BYTES:
                raise MessageTooBig(f"the line of an event may have {MAX_LINE_BYTES} bytes")
            if end < 0:
                self._n_searched = len(self._waiting)
                return None
            header = json_object(bytes(self._waiting[:end]))
            self._n_needed = end + 1 + sum(_lengths(header))
            self._is_audio = header.get("type") == CHUNK
        if len(self._waiting) < self._n_needed:
            return None
        message = bytes(self._waiting[: self._n_needed])
        del self._waiting[: self._n_needed]
        self._n_searched, self._n_needed = 0, None
        if not self._is_audio or len(message) <= PIECE_BYTES:
            return message
        self._pieces += _pieces(parse(message))
        return self._pieces.popleft()


def parse(message: bytes) -> WyomingEvent:
    """Read one whole event.

    Raises:
        InvalidMessage: it is none.
        MessageTooBig: it announces too much.
    """
    line, _, rest = message.partition(b"\n")
    header = json_object(line)
    n_data, n_payload = _lengths(header)
    if len(rest) != n_data + n_payload:
        raise InvalidMessage("an event has other lengths than it announces")
    kind, data = header.get("type"), header.get("data")
    if not isinstance(kind, str):
        raise InvalidMessage("an event has a type", code="unknown_type")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InvalidMessage("the data of an event is an object")
    return WyomingEvent(kind, data | (json_object(rest[:n_data]) if n_data else {}), rest[n_data:])


def line_of(kind: str, **data: object) -> bytes:
    """Return an event without a payload. Its data is in the line."""
    return json.dumps({"type": kind, "version": VERSION, "data": data}).encode() + b"\n"


def _pieces(event: WyomingEvent) -> Iterator[bytes]:
    """Cut audio. A value that is no integer is refused anyway, and may be long."""
    audio = {name: event.data[name] for name in FORMAT if type(event.data.get(name)) is int}
    for start in range(0, len(event.payload) or 1, PIECE_BYTES):
        payload = event.payload[start : start + PIECE_BYTES]
        header = {"type": CHUNK, "data": audio, "payload_length": len(payload)}
        yield json.dumps(header).encode() + b"\n" + payload


def _lengths(header: dict[str, Any]) -> tuple[int, int]:
    """Return how many bytes of data and of payload follow."""
    return _length(header, "data_length", MAX_DATA_BYTES), _length(header, "payload_length", MAX_PAYLOAD_BYTES)


def _length(header: dict[str, Any], name: str, max_bytes: int) -> int:
    value = header.get(name)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise InvalidMessage(f"{name} must be a number of bytes")
    if value > max_bytes:
        raise MessageTooBig(f"{name} may be {max_bytes}")
    return value
