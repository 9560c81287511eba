"""A decoder process sends these messages to the server, as frames: a letter, the length of the body, the body. Pure.

    R  ready: the sandbox is active, bytes may be sent
    O  opened: the header was read; the duration in seconds or null, the audio track, the number of tracks, the number
       of channels (JSON)
    W  waits: the number of the container's bytes read so far (unsigned, 64 bits)
    S  samples: float32, 16 kHz, little-endian; those of all channels of a moment follow each other
    E  ended, the last frame: the error or null (JSON)

The server trusts none of them, because the decoded bytes may have taken over the decoder.
"""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from livecaption.audio.formats import MAX_CHANNELS, Samples, make_finite
from livecaption.errors import InvalidAudio, LivecaptionError

HEADER = struct.Struct("<cI")
MAX_BODY_BYTES = 64 * 1024
"""Largest body of a frame: 1 s of samples. A piece of samples has at most half of that."""
_COUNT = struct.Struct("<Q")
_CODES = ("invalid_container", "truncated_audio")


@dataclass(frozen=True, slots=True)
class Ready:
    """The process waits for a container."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The container's header was read.

    Attributes:
        duration_s: its duration in seconds, or None if the header has none.
        track: number of the audio track that is decoded, from 1.
        n_tracks: number of its audio tracks.
        n_channels: number of channels of the samples; 1 if they are mixed.
    """

    duration_s: float | None
    track: int = 1
    n_tracks: int = 1
    n_channels: int = 1


@dataclass(frozen=True, slots=True)
class Waits:
    """The process needs more of the container than the `n_bytes` that it has read."""

    n_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Samples: float32, 16 kHz, -1..1. They are decoded as [n_samples * n_channels]."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class Ended:
    """All samples were sent. `error` is the reason if decoding stopped early, and None at the container's end."""

    error: LivecaptionError | None


Message = Ready | Opened | Waits | Decoded | Ended


class GarbledFrame(LivecaptionError):
    """A decoder has sent a frame that is not valid."""

    default_code = "garbled_message"


def encode(message: Message) -> bytes:
    """Encode a message as a frame."""
    match message:
        case Ready():
            kind, body = b"R", b""
        case Opened(duration_s, track, n_tracks, n_channels):
            kind, body = b"O", json.dumps([duration_s, track, n_tracks, n_channels]).encode()
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
    """Return the length of the body that follows this header.

    Raises:
        GarbledFrame: it is longer than `MAX_BODY_BYTES`.
    """
    _, n_bytes = HEADER.unpack(header)
    if n_bytes > MAX_BODY_BYTES:
        raise GarbledFrame("a decoder has sent a frame that is too long")
    return int(n_bytes)


def decode(header: bytes, body: bytes) -> Message:
    """Decode a frame. Samples that are not finite or out of range are corrected.

    Raises:
        GarbledFrame: the frame is not valid.
    """
    kind, _ = HEADER.unpack(header)
    try:
        match kind:
            case b"R" if not body:
                return Ready()
            case b"O":
                duration_s, track, n_tracks, n_channels = json.loads(body)
                return Opened(
                    _duration_s(duration_s), _number(track), _number(n_tracks), _number(n_channels, MAX_CHANNELS)
                )
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
    raise GarbledFrame("a decoder has sent an invalid frame")


def _duration_s(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError("not a duration")
    return float(value)


def _number(value: Any, at_most: int = 2**31 - 1) -> int:
    if type(value) is not int or not 1 <= value <= at_most:
        raise ValueError("not a number of tracks or channels")
    return value


def _error(value: Any) -> LivecaptionError | None:
    if value is None:
        return None
    code, message, fatal = value
    if code not in _CODES or type(message) is not str or len(message) > 200 or type(fatal) is not bool:
        raise ValueError("not an error that a decoder reports")
    return InvalidAudio(message, code=code, fatal=fatal)
