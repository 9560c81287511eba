"""People type words and never operators, and find what they mean."""

import pytest

from livecaption.errors import InvalidQuery
from livecaption.store import search
from tests.support.cases import for_each


@for_each(
    ("query", "expected"),
    [
        ("", []),
        ("  ", []),
        ("tram", ["tram"]),
        ("late tram", ["late", "tram"]),
        ('"late tram" city', ["late tram", "city"]),
        ('un"closed quote', ["un", "closed", "quote"]),
        ("- * ! ( _", []),
        ("NOT tram OR", ["NOT", "tram", "OR"]),
        ("日本", ["日本"]),
    ],
)
def test_words_and_quoted_phrases_are_terms_and_signs_are_not(query: str, expected: list[str]) -> None:
    assert search.terms(query) == expected


def test_a_term_is_the_beginning_of_words_for_fts5() -> None:
    assert search.fts5("late tram") == '"late tram" *'


@pytest.mark.parametrize("query", [201 * "a", " ".join(13 * "a")])
def test_a_query_of_no_human_length_is_refused(query: str) -> None:
    with pytest.raises(InvalidQuery):
        search.terms(query)


def test_a_marked_excerpt_is_split_into_what_was_found_and_what_was_not() -> None:
    assert search.parts("the \x02tram\x03 is \x02late\x03") == ("the ", "tram", " is ", "late", "")
    assert search.parts("\x02tram\x03") == ("", "tram", "")
