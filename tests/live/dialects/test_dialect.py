"""Every protocol has limits of its messages."""

import tracemalloc

import pytest

from livecaption.errors import MessageTooBig
from livecaption.live.dialects.dialect import Limits
from tests.support.cases import for_each

LIMITS = Limits(max_text_bytes=10, max_binary_bytes=20)


@for_each("message", ["", "x" * 10, "ü" * 5, b"", bytes(20), bytearray(20)])
def test_a_message_within_its_limit_passes(message: str | bytes) -> None:
    LIMITS.check(message)


def test_a_text_is_encoded_only_up_to_the_first_byte_too_many() -> None:
    """A client pays nothing for a message that is refused, so counting its bytes must take no memory."""
    limits = Limits(max_text_bytes=4_000_000, max_binary_bytes=20)
    message = "\u20ac" * 3_900_000
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooBig):
            limits.check(message)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@for_each("message", ["x" * 11, "ü" * 6, "\ud800" * 4, bytes(21), bytearray(21)])
def test_a_message_over_the_limit_of_its_kind_is_refused(message: str | bytes) -> None:
    with pytest.raises(MessageTooBig, match="may have"):
        LIMITS.check(message)
