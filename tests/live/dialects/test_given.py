"""Values in messages of foreign protocols."""

from typing import Any

import pytest

from livecaption.errors import InvalidMessage
from livecaption.live.dialects.given import hotwords, is_text, json_object
from tests.support.cases import for_each


@for_each(
    ("given", "words"),
    [
        (["Vosk", " Kaldi ", "", 7, None, "x" * 101, "\ud800"], ("Vosk", "Kaldi")),
        ("Vosk, Kaldi,", ("Vosk", "Kaldi")),
        ([str(number) for number in range(200)], tuple(str(number) for number in range(100))),
        (None, ()),
        ({"a": 1}, ()),
    ],
)
def test_words_that_help_are_taken_and_the_rest_is_ignored(given: Any, words: tuple[str, ...]) -> None:
    assert hotwords(given) == words


def test_a_text_is_valid_unicode() -> None:
    assert is_text("ü")
    assert not is_text("\ud800")
    assert not is_text(7)


@for_each("message", ["", "{", "[]", "7", "[" * 100_000, "1" * 5000])
def test_a_message_that_is_no_json_object_is_refused(message: str) -> None:
    with pytest.raises(InvalidMessage):
        json_object(message)
