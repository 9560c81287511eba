"""Texts without punctuation and capitals."""

from livecaption.captions.punctuation import without_punctuation
from tests.support.cases import for_each


@for_each(
    ("text", "bare"),
    [
        ("Doors open at nine.", "doors open at nine"),
        ("“Don’t”, she said: twenty-one o'clock …", "don’t she said twenty-one o'clock"),
        ("At 10:30, for 3.5 hours!", "at 10:30 for 3.5 hours"),
        ("yes – no", "yes no"),
        ("¿Qué?", "qué"),
        (" . ", ""),
    ],
)
def test_marks_and_capitals_go_and_words_stay(text: str, bare: str) -> None:
    assert without_punctuation(text) == bare
