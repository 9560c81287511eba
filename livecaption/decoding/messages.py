"""What a decoder process sends to the server, as frames: a letter, the length of the body, the body. Pure.

    R  ready: the sandbox holds, bytes may come
    O  opened: the head is read; its length in seconds, if the head tells it (JSON)
    W  waits: has taken so many bytes of the container so far (unsigned, 64 bits)
    S  samples: float32, mono, 16 kHz, little-endian
    E  ended, the last one: how (JSON)

The server believes none of it: a decoder may have been taken over by the bytes that it decodes.
"""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from livecaption.audio.formats import Samples, make_finite
from livecaption.errors import InvalidAudio, LivecaptionError

HEADER = struct.Struct("<cI")
MAX_BODY_BYTES = 64 * 1024
"""Samples of 1 s; a piece has half of that."""
_COUNT = struct.Struct("<Q")
_CODES = ("invalid_container", "truncated_audio")


@dataclass(frozen=True, slots=True)
class Ready:
    """The process waits for a container."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The container's head is read. `duration_s` is None where the head does not tell it."""

    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Waits:
    """The process needs more of the container than the `n_bytes` that it has taken."""

    n_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Samples: float32 [n], mono, 16 kHz, -1..1."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class Ended:
    """All samples were sent; `error` is why there are no more of them, None at the container's own end."""

    error: LivecaptionError | None


Message = Ready | Opened | Waits | Decoded | Ended


class GarbledFrame(LivecaptionError):
    """A decoder has sent what no decoder of ours sends."""

    default_code = "garbled_message"


def encode(message: Message) -> bytes:
    """Make the frame of a message."""
    match message:
        case Ready():
            kind, body = b"R", b""
        case Opened(duration_s):
            kind, body = b"O", json.dumps(duration_s).encode()
        case Waits(n_bytes):
            kind, body = b"W", _COUNT.pack(n_bytes)
        case Decoded(samples):
            kind, body = b"S", samples.astype("<f4").tobytes()
        case Ended(None):
            kind, body = b"E", b"null"
        case Ended(error):
            assert error is not None  # the case before
            kind, body = b"E", json.dumps([error.code, error.message, error.fatal]).encode()
    return HEADER.pack(kind, len(body)) + body


def body_bytes(header: bytes) -> int:
    """Give the length of the body that follows this header.

    Raises:
        GarbledFrame: it is longer than any of ours.
    """
    _, n_bytes = HEADER.unpack(header)
    if n_bytes > MAX_BODY_BYTES:
        raise GarbledFrame("a decoder has sent too long a frame")
    return int(n_bytes)


def decode(header: bytes, body: bytes) -> Message:
    """Read a frame. Samples that are not finite or out of range are put right.

    Raises:
        GarbledFrame: it is none of ours.
    """
    kind, _ = HEADER.unpack(header)
    try:
        match kind:
            case b"R" if not body:
                return Ready()
            case b"O":
                return Opened(_duration_s(json.loads(body)))
            case b"W":
                return Waits(*_COUNT.unpack(body))
            case b"S":
                samples = np.frombuffer(body, "<f4").astype(np.float32)
                make_finite(samples)
                return Decoded(samples)
            case b"E":
                return Ended(_error(json.loads(body)))
    except (ValueError, TypeError, RecursionError, struct.error):
        pass
    raise GarbledFrame("a decoder has sent what makes no sense")


def _duration_s(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError("not a duration")
    return float(value)


def _error(value: Any) -> LivecaptionError | None:
    if value is None:
        return None
    code, message, fatal = value
    if code not in _CODES or type(message) is not str or len(message) > 200 or type(fatal) is not bool:
        raise ValueError("not an error of ours")
    return InvalidAudio(message, code=code, fatal=fatal)
