"""Titles that people type or paste."""

import pytest

from livecaption.live.title import clean_title


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("A lecture", "A lecture"),
        ("one\r\ntwo\u2028three\tfour", "one two three four"),
        ("\x00a\x1bb\x7fc\x9fd", "abcd"),
        ("\u202egnp.exe \u2066x\u2069", "gnp.exe x"),
        # Marks, and joiners of letters and of emoji, belong to the text.
        ("\u200fשלום\u200f می\u200cخواهم 👩\u200d🔬", "\u200fשלום\u200f می\u200cخواهم 👩\u200d🔬"),
        (" \n ", ""),
    ],
)
def test_a_title_is_one_line_without_characters_that_turn_a_page_around(given: str, title: str) -> None:
    assert clean_title(given) == title
