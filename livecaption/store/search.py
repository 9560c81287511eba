"""Turn search queries of people into terms and expressions of FTS5, and its excerpts into parts. Pure.

Each word must occur in a final or in the title of the session. It may be the beginning of a longer word there. "Words
in quotes" must be adjacent. A query has no operators.
"""

import re
from dataclasses import dataclass

from livecaption.errors import InvalidQuery

MAX_QUERY_CHARACTERS = 200
MAX_TERMS = 12
EXCERPT_WORDS = 16
BEFORE_MATCH, AFTER_MATCH = "\x02", "\x03"
"""Marks in an excerpt: characters that never occur in captions."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The match of a search in one final.

    Attributes:
        start_ms: stream time of the final's beginning.
        parts: parts of its text; every second one, from the second on, matches the search.
    """

    start_ms: int
    parts: tuple[str, ...]


def terms(query: str) -> list[str]:
    """Return the words and quoted phrases of a query. None at all: there is nothing to search for.

    Raises:
        InvalidQuery: the query is too long.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidQuery(f"q may have at most {MAX_QUERY_CHARACTERS} characters")
    # A NUL would end an expression of FTS5 early.
    found = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', query.replace("\0", " "))]
    # All characters but letters and digits count as spaces. A term without those would match nothing.
    with_words = [term for term in found if re.search(r"[^\W_]", term)]
    if len(with_words) > MAX_TERMS:
        raise InvalidQuery(f"q may have at most {MAX_TERMS} words")
    return with_words


def fts5(term: str) -> str:
    """Return a term, which has no quote, as an expression of FTS5."""
    return f'"{term}" *'


def parts(excerpt: str) -> tuple[str, ...]:
    """Split a marked text into unmarked and marked parts in turn. The first one is unmarked."""
    return tuple(re.split(f"[{BEFORE_MATCH}{AFTER_MATCH}]", excerpt))
