"""Titles that people type or paste."""

from typing import Any

import pytest

from livecaption.errors import InvalidMessage
from livecaption.live.title import check_speakers, checked_name, clean_title


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


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Ada", "Ada"),
        ("  Ada Lovelace\n", "Ada Lovelace"),
        ("<b>Ada</b> & co", "<b>Ada</b> & co"),
        ("x" * 80, "x" * 80),
    ],
)
def test_a_name_is_kept_as_it_is_but_for_the_space_around_it(given: str, name: str) -> None:
    assert checked_name(given) == name


@pytest.mark.parametrize(
    "given", ["", " \t\n", "x" * 81, "x" * 10_000, "A\nB", "A\x00B", "A\u202eB", "A\u2028B", "\ud800", None, 7, ["Ada"]]
)
def test_a_name_that_is_empty_long_or_of_several_lines_is_refused(given: Any) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        checked_name(given)
    assert (refusal.value.code, refusal.value.fatal) == ("invalid_name", False)


def test_only_numbers_that_were_given_are_speakers() -> None:
    check_speakers([1, 3], highest=3)
    for number in (0, -1, 4, 10**30):
        with pytest.raises(InvalidMessage) as refusal:
            check_speakers([1, number], highest=3)
        assert (refusal.value.code, refusal.value.fatal) == ("unknown_speaker", False)
