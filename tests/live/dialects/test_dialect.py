"""Every protocol has limits of its messages."""

import pytest

from livecaption.errors import MessageTooBig
from livecaption.live.dialects.dialect import Limits
from tests.support.cases import for_each

LIMITS = Limits(max_text_bytes=10, max_binary_bytes=20)


@for_each("message", ["", "x" * 10, "ü" * 5, b"", bytes(20), bytearray(20)])
def test_a_message_within_its_limit_passes(message: str | bytes) -> None:
    LIMITS.check(message)


@for_each("message", ["x" * 11, "ü" * 6, "\ud800" * 4, bytes(21), bytearray(21)])
def test_a_message_over_the_limit_of_its_kind_is_refused(message: str | bytes) -> None:
    with pytest.raises(MessageTooBig, match="may have"):
        LIMITS.check(message)
