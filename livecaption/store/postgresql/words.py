"""Cut texts into the words that people search, and find these in them. Pure.

PostgreSQL's own parser keeps hyphens, addresses and numbers together, and would find other words than SQLite does. So
texts and queries are cut here by the rules of SQLite's tokenizer `unicode61 remove_diacritics 2`.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from livecaption.store.search import EXCERPT_WORDS

MAX_WORD_CHARACTERS = 500
"""Characters of a word that are compared. A lexeme of PostgreSQL has less than 2 KiB."""
MAX_POSITION = 16_383
"""The greatest position that PostgreSQL keeps. No final has that many words."""
WORDS_BEFORE = 5
"""Words of a long text before the first match that an excerpt shows."""

_WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")
_MARKS = re.compile(r"[\u0300-\u036f]+")
_LAST_LATIN = "\u024f"


def words(text: str) -> list[str]:
    """Return the words of a text, without case and without the accents of Latin letters."""
    return [_folded(match[0]) for match in _WORD.finditer(text)]


def vector(text: str) -> str:
    """Return the words of a text with their positions, as PostgreSQL reads a `tsvector`."""
    return " ".join(f"'{word}':{min(n, MAX_POSITION)}" for n, word in enumerate(words(text), start=1))


def query(term: str) -> str:
    """Return a term of `search.terms` as PostgreSQL reads a `tsquery`. Its last word may be the beginning of one."""
    return " <-> ".join(f"'{word}'" for word in words(term)) + ":*"


def any_of(terms: Sequence[str]) -> str:
    """Return a `tsquery` that finds any of these terms."""
    return " | ".join(f"({query(term)})" for term in terms)


def excerpt(text: str, terms: Sequence[str]) -> tuple[str, ...]:
    """Return the words around the first match of the terms. Every second part, from the second on, is a match."""
    spans = [match.span() for match in _WORD.finditer(text)]
    matched = sorted(_matches(words(text), [words(term) for term in terms]))
    first = 0 if len(spans) <= EXCERPT_WORDS else max(0, matched[0][0] - WORDS_BEFORE)
    last = min(len(spans), first + EXCERPT_WORDS) - 1
    begin = spans[first][0] if first else 0
    end = spans[last][1] if last < len(spans) - 1 else len(text)
    parts = ["…" if first else ""]
    at = begin
    for start, stop in matched:
        start_at, stop_at = max(at, spans[start][0]), min(end, spans[stop - 1][1])
        if start_at < stop_at:
            parts[-1] += text[at:start_at]
            parts += [text[start_at:stop_at], ""]
            at = stop_at
    parts[-1] += text[at:end] + ("…" if end < len(text) else "")
    return tuple(parts)


def _matches(said: list[str], terms: Sequence[list[str]]) -> Iterator[tuple[int, int]]:
    """Yield the first word of each match, and the one behind its last."""
    for *whole, beginning in terms:
        n_words = len(whole) + 1
        for at in range(len(said) - n_words + 1):
            *found, last = said[at : at + n_words]
            if found == whole and last.startswith(beginning):
                yield at, at + n_words


def _folded(word: str) -> str:
    without_marks = _MARKS.sub("", word)
    if without_marks.isascii():
        return without_marks.lower()[:MAX_WORD_CHARACTERS]
    return "".join(map(_folded_letter, without_marks))[:MAX_WORD_CHARACTERS]


def _folded_letter(letter: str) -> str:
    base = unicodedata.normalize("NFD", letter)[0]
    folded = (base if base <= _LAST_LATIN else letter).lower()
    return "σ" if folded == "ς" else folded[0]
