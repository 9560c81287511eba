"""JSON messages of clients, and the texts in them."""

import pytest

from livecaption.errors import InvalidMessage
from livecaption.live.dialects.json_messages import is_text, json_object
from tests.support.cases import for_each


def test_a_text_is_valid_unicode() -> None:
    assert is_text("ü")
    assert not is_text("\ud800")
    assert not is_text(7)


@for_each("message", ["", "{", "[]", "7", "[" * 100_000, "1" * 5000])
def test_a_message_that_is_no_json_object_is_refused(message: str) -> None:
    with pytest.raises(InvalidMessage):
        json_object(message)


def test_a_message_may_be_refused_without_an_end_of_the_stream() -> None:
    for fatal in (True, False):
        with pytest.raises(InvalidMessage) as refused:
            json_object("{", fatal=fatal)
        assert refused.value.fatal is fatal
