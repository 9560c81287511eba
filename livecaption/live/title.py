"""The titles of sessions and rooms, as people may type or paste them. Pure."""

import re

_BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
"""Characters that begin a line, or stand for wide space: a title is one line."""
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of what follows: they would turn the rest of a page around.
The marks that give one place a direction stay, as titles in Arabic or Hebrew need them."""


def clean_title(title: str) -> str:
    """Return the title in one line, without characters that nobody sees and that change what others see."""
    return _INVISIBLE.sub("", _BREAKS.sub(" ", title)).strip()
