"""Messages of a decoder process are decoded unchanged, and all other bytes are refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.decoding.messages import (
    HEADER,
    MAX_BODY_BYTES,
    Decoded,
    Ended,
    GarbledFrame,
    Message,
    Opened,
    Ready,
    Waits,
    body_bytes,
    decode,
    encode,
)
from livecaption.errors import InvalidAudio
from tests.support.cases import for_each


def parts(frame: bytes) -> tuple[bytes, bytes]:
    header, body = frame[: HEADER.size], frame[HEADER.size :]
    assert body_bytes(header) == len(body)
    return header, body


@for_each("message", [Ready(), Opened(None), Opened(2.5, 2, 3, 8), Waits(0), Waits(2**40), Ended(None)])
def test_a_message_is_read_as_it_was_sent(message: Message) -> None:
    assert decode(*parts(encode(message))) == message


def test_samples_arrive_bit_for_bit() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 8000).astype(np.float32)
    message = decode(*parts(encode(Decoded(samples))))
    assert isinstance(message, Decoded)
    assert np.array_equal(message.samples, samples)


@pytest.mark.parametrize(("code", "fatal"), [("invalid_container", True), ("truncated_audio", False)])
def test_the_error_that_ended_a_container_arrives(code: str, fatal: bool) -> None:
    message = decode(*parts(encode(Ended(InvalidAudio("why", code=code, fatal=fatal)))))
    assert isinstance(message, Ended)
    assert message.error is not None
    assert (message.error.code, message.error.message, message.error.fatal) == (code, "why", fatal)


def test_samples_that_make_no_sense_are_put_right() -> None:
    """They would spoil the voice activity detection of the stream."""
    body = np.array([np.nan, np.inf, -np.inf, 1e30, -2.0, 0.5], "<f4").tobytes()
    message = decode(HEADER.pack(b"S", len(body)), body)
    assert isinstance(message, Decoded)
    assert message.samples.tolist() == [0.0, 0.0, 0.0, 1.0, -1.0, 0.5]


def test_a_frame_that_is_too_long_is_not_read() -> None:
    with pytest.raises(GarbledFrame):
        body_bytes(HEADER.pack(b"S", MAX_BODY_BYTES + 1))


GARBLED = {
    "an unknown kind": (b"X", b""),
    "ready with a body": (b"R", b"1"),
    "half a sample": (b"S", b"123"),
    "a count that is short": (b"W", b"1234"),
    "a duration that is text": (b"O", b'["long", 1, 1, 1]'),
    "a duration below zero": (b"O", b"[-1, 1, 1, 1]"),
    "a duration without end": (b"O", b"[Infinity, 1, 1, 1]"),
    "a duration alone": (b"O", b"2.5"),
    "a track that is no number": (b"O", b"[null, true, 1, 1]"),
    "a track before the first": (b"O", b"[null, 0, 1, 1]"),
    "tracks without end": (b"O", b"[null, 1, 1e300, 1]"),
    "no channels": (b"O", b"[null, 1, 1, 0]"),
    "more channels than there may be": (b"O", b"[null, 1, 1, 9]"),
    "no JSON": (b"E", b"{"),
    "deep JSON": (b"E", b"[" * 60_000),
    "an error of another code": (b"E", b'["internal", "x", true]'),
    "an error of endless words": (b"E", b'["invalid_container", "' + b"x" * 300 + b'", true]'),
    "too few fields": (b"E", b'["invalid_container"]'),
}


@for_each("name", GARBLED)
def test_a_message_that_no_decoder_of_ours_sends_is_refused(name: str) -> None:
    kind, body = GARBLED[name]
    with pytest.raises(GarbledFrame):
        decode(HEADER.pack(kind, len(body)), body)


@given(st.binary(min_size=1, max_size=1), st.binary(max_size=200))
def test_no_frame_raises_anything_else(kind: bytes, body: bytes) -> None:
    try:
        message = decode(struct.pack("<cI", kind, len(body)), body)
    except GarbledFrame:
        return
    if isinstance(message, Decoded):
        assert np.isfinite(message.samples).all()
    else:
        assert decode(*parts(encode(message))) is not None
