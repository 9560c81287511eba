"""Values in messages of foreign protocols."""

from typing import Any

from livecaption.live.dialects.given import hotwords
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
