"""Texts are cut into the words that SQLite would find, and excerpts show where a term is."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.store import search
from livecaption.store.postgresql import words
from tests.support.any_text import any_text
from tests.support.cases import for_each


@for_each(
    ("text", "expected"),
    [
        ("", []),
        ("The tram is LATE.", ["the", "tram", "is", "late"]),
        ("e-mail: a.b@example.org, 3.14", ["e", "mail", "a", "b", "example", "org", "3", "14"]),
        ("naïve_café Ångström ǗẞÆ", ["naive", "cafe", "angstrom", "ußæ"]),
        ("cafe\u0301s", ["cafes"]),
        ("ΣΊΣΥΦΟΣ Йод 日本 한국", ["σίσυφοσ", "йод", "日本", "한국"]),
        ("x" * 600, ["x" * 500]),
        ("é" * 600, ["e" * 500]),
    ],
)
def test_a_text_has_words_without_case_and_latin_accents(text: str, expected: list[str]) -> None:
    assert words.words(text) == expected


def test_words_have_their_positions() -> None:
    assert words.vector("The tram, the") == "'the':1 'tram':2 'the':3"
    assert words.vector("a " * 20_000).endswith("'a':16383")


@for_each(
    ("term", "expected"),
    [("tram", "'tram':*"), ("late tram", "'late' <-> 'tram':*"), ("O'Neill", "'o' <-> 'neill':*")],
)
def test_the_last_word_of_a_term_may_be_the_beginning_of_one(term: str, expected: str) -> None:
    assert words.query(term) == expected
    assert words.any_of([term, "x"]) == f"({expected}) | ('x':*)"


@for_each(
    ("text", "terms", "expected"),
    [
        ("The tram is late.", ["tram"], ("The ", "tram", " is late.")),
        ("Trams, trams!", ["tram"], ("", "Trams", ", ", "trams", "!")),
        ("The late tram.", ["late tr"], ("The ", "late tram", ".")),
        ("The late tram.", ["late tr", "tram", "the"], ("", "The", " ", "late tram", ".")),
        ("Cafés", ["cafe"], ("", "Cafés", "")),
        ("x " * 20 + "tram" + " y" * 20, ["tram"], ("…x x x x x ", "tram", " y y y y y y y y y y…")),
        ("tram " * 20, ["tram"], ("", *("tram", " ") * 15, "tram", "…")),
        ("x " * 20 + "tram y", ["tram"], ("…x x x x x ", "tram", " y")),
    ],
)
def test_an_excerpt_shows_the_words_around_the_first_match(
    text: str, terms: list[str], expected: tuple[str, ...]
) -> None:
    assert words.excerpt(text, terms) == expected


@given(any_text(60), st.integers(0, 59), st.integers(1, 9))
def test_each_word_of_a_text_is_found_in_it(text: str, at: int, n: int) -> None:
    terms = search.terms(text[at : at + n])
    known = words.words(text)
    terms = [term for term in terms if any(word.startswith(term.lower()) for word in known)]
    found = [term for term in terms if words.words(term) and words.words(term)[0] in known]
    if found:
        parts = words.excerpt(text, found)
        assert len(parts) % 2 == 1
        assert len(parts) > 1
        assert all(parts[1::2])
        assert "".join(parts).strip("…") in text
