"""Turn search queries of people into expressions of FTS5, and its excerpts into parts. Pure.

Each word must occur in a final or in the title of the session. It may be the beginning of a longer word there. "Words
in quotes" must be adjacent. A query has no operators.
"""

import re
from collections.abc import Sequence
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
    """Return one expression for each word or quoted phrase. None at all: there is nothing to search for.

    Raises:
        InvalidQuery: the query is too long.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidQuery(f"q may have at most {MAX_QUERY_CHARACTERS} characters")
    # A NUL would end the expression early.
    found = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', query.replace("\0", " "))]
    # FTS5 treats all characters but letters and digits as spaces. A term without those would match nothing.
    expressions = [f'"{term}" *' for term in found if re.search(r"[^\W_]", term)]
    if len(expressions) > MAX_TERMS:
        raise InvalidQuery(f"q may have at most {MAX_TERMS} words")
    return expressions


def any_of(expressions: Sequence[str]) -> str:
    return " OR ".join(expressions)


def parts(excerpt: str) -> tuple[str, ...]:
    """Split a marked text into unmarked and marked parts in turn. The first one is unmarked."""
    return tuple(re.split(f"[{BEFORE_MATCH}{AFTER_MATCH}]", excerpt))
