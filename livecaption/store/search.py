"""What people type into a search field -> expressions of FTS5, and its excerpts -> parts. Pure.

Each word must occur somewhere in the session, in a final or in the title, whole or as the beginning of a longer word;
"words in quotes" stand side by side. Nothing that is typed is an operator.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from livecaption.errors import InvalidQuery

MAX_QUERY_CHARACTERS = 200
MAX_TERMS = 12
EXCERPT_WORDS = 16
BEFORE_MATCH, AFTER_MATCH = "\x02", "\x03"
"""Marks in an excerpt, of characters that no caption has."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a search has found in one final.

    Attributes:
        parts: of its text; every second one, from the second on, is what was searched for.
    """

    start_ms: int
    parts: tuple[str, ...]


def terms(query: str) -> list[str]:
    """One expression for each word or quoted phrase; none: there is nothing to search for.

    Raises:
        InvalidQuery: too long.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidQuery(f"q may have {MAX_QUERY_CHARACTERS} characters")
    # A NUL would end the expression in its middle.
    found = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', query.replace("\0", " "))]
    # FTS5 takes what is no letter or digit for a space; a term of nothing else would match nothing.
    expressions = [f'"{term}" *' for term in found if re.search(r"[^\W_]", term)]
    if len(expressions) > MAX_TERMS:
        raise InvalidQuery(f"q may have {MAX_TERMS} words")
    return expressions


def any_of(expressions: Sequence[str]) -> str:
    return " OR ".join(expressions)


def parts(excerpt: str) -> tuple[str, ...]:
    """A marked text -> unmarked and marked parts in turn, the first one unmarked."""
    return tuple(re.split(f"[{BEFORE_MATCH}{AFTER_MATCH}]", excerpt))
