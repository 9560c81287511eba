"""People type words and never operators, and find what they mean."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.errors import InvalidQuery
from livecaption.store import search
from livecaption.store.database import Database
from tests.support.any_text import any_text
from tests.support.cases import for_each
from tests.support.stored import fill, new_session, opened
from tests.support.transcripts import final


@for_each(
    ("query", "expected"),
    [
        ("", []),
        ("  ", []),
        ("tram", ['"tram" *']),
        ("late tram", ['"late" *', '"tram" *']),
        ('"late tram" city', ['"late tram" *', '"city" *']),
        ('un"closed quote', ['"un" *', '"closed" *', '"quote" *']),
        ("- * ! ( _", []),
        ("NOT tram OR", ['"NOT" *', '"tram" *', '"OR" *']),
        ("日本", ['"日本" *']),
    ],
)
def test_words_and_quoted_phrases_are_terms_and_signs_are_not(query: str, expected: list[str]) -> None:
    assert search.terms(query) == expected


@pytest.mark.parametrize("query", [201 * "a", " ".join(13 * "a")])
def test_a_query_of_no_human_length_is_refused(query: str) -> None:
    with pytest.raises(InvalidQuery):
        search.terms(query)


def test_a_marked_excerpt_is_split_into_what_was_found_and_what_was_not() -> None:
    assert search.parts("the \x02tram\x03 is \x02late\x03") == ("the ", "tram", " is ", "late", "")
    assert search.parts("\x02tram\x03") == ("", "tram", "")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with opened(tmp_path_factory.mktemp("store") / "transcripts.db") as database:
        fill(
            database, new_session("council", "City council"), [final("The tram is late."), final("Again!", utterance=1)]
        )
        fill(database, new_session("lecture"), [final("Überall Straßenbahnen, trams everywhere.", language="de")])
        yield database


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tram", ["lecture", "council"]),
        ("TRAM again", ["council"]),
        ("tram city", ["council"]),
        ("uberall", ["lecture"]),
        ('"tram is"', ["council"]),
        ('"is tram"', []),
        ("ram", []),
    ],
)
def test_sessions_with_all_terms_are_found_the_newest_first(
    database: Database, query: str, expected: list[str]
) -> None:
    assert [session.id for session in database.sessions(10, None, search.terms(query))] == expected


def test_excerpts_show_where_a_term_was_said(database: Database) -> None:
    terms = search.terms("tram again")
    (council,) = database.sessions(10, None, terms)
    assert [excerpt.parts for excerpt in database.excerpts(council, terms)] == [
        ("The ", "tram", " is late."),
        ("", "Again", "!"),
    ]


@given(any_text(40) | st.text('ab"\0*()-:^{}+', max_size=10))
def test_no_query_is_a_mistake_of_syntax(database: Database, query: str) -> None:
    terms = search.terms(query)
    found = database.sessions(10, None, terms)
    if not terms:
        assert [session.id for session in found] == ["lecture", "council"]
    else:
        shown = [excerpt.parts for session in found for excerpt in database.excerpts(session, terms)]
        assert all(len(parts) > 1 and all(parts[1::2]) for parts in shown)


def test_of_a_long_final_the_words_around_are_shown(tmp_path: Path) -> None:
    with opened(tmp_path / "transcripts.db") as long:
        fill(long, new_session(), [final(" ".join([*(50 * ["before"]), "tram", *(50 * ["after"])]))])
        terms = search.terms("tram")
        (excerpt,) = long.excerpts(long.sessions(1)[0], terms)
    assert excerpt.parts[1] == "tram"
    assert len("".join(excerpt.parts).split()) < 25
