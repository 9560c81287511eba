"""Take punctuation and capitals from a text, for protocols whose own models give none. Pure."""

import unicodedata

_INNER = "'’-"
"""Marks that stay within a word: don't, o’clock, twenty-one."""


def without_punctuation(text: str) -> str:
    """Return the words in lower case, without the marks before, between and behind them. Numbers stay as they are."""
    words = (_bare(word) for word in text.lower().split())
    return " ".join(word for word in words if word)


def _bare(word: str) -> str:
    last = len(word) - 1
    kept = (
        letter
        for at, letter in enumerate(word)
        if not unicodedata.category(letter).startswith("P")
        or (0 < at < last and (letter in _INNER or (word[at - 1].isdigit() and word[at + 1].isdigit())))
    )
    return "".join(kept).strip(_INNER)
