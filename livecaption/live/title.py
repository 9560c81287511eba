"""The titles of sessions and rooms, and the names of speakers, as people may type or paste them. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from livecaption.errors import InvalidMessage
from livecaption.live.dialects.json_messages import is_text

MAX_NAME_CHARACTERS = 80
"""Characters of a speaker's name: two lines of a subtitle."""

MAX_DIGITS = 9
"""Digits of the number of a speaker, which are read as one."""
_BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
"""Characters that begin a line, or stand for wide space: a title is one line."""
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of what follows: they would turn the rest of a page around.
The marks that give one place a direction stay, as titles in Arabic or Hebrew need them."""


def clean_title(title: str) -> str:
    """Return the title in one line, without characters that nobody sees and that change what others see."""
    return _INVISIBLE.sub("", _BREAKS.sub(" ", title)).strip()


def checked_name(given: Any) -> str:
    """Return the name of a speaker, without space around it.

    Nothing else of it is changed: a name in which something is wrong is not what somebody has typed.

    Raises:
        InvalidMessage: `invalid_name`: it is no text, empty or too long, or has characters that a title loses.
    """
    trimmed = given.strip() if is_text(given) else ""
    if not 1 <= len(trimmed) <= MAX_NAME_CHARACTERS or _BREAKS.search(trimmed) or _INVISIBLE.search(trimmed):
        raise InvalidMessage(
            f"a name has 1 to {MAX_NAME_CHARACTERS} characters, and no control characters",
            code="invalid_name",
            fatal=False,
        )
    return trimmed


def checked_names(given: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of speakers by their numbers, which JSON has as texts.

    Raises:
        InvalidMessage: `invalid_name`, or `unknown_speaker` for what is no number.
    """
    for number in given:
        if not (number.isascii() and number.isdecimal() and len(number) <= MAX_DIGITS):
            raise InvalidMessage("there is no such speaker", code="unknown_speaker", fatal=False)
    return {int(number): checked_name(name) for number, name in given.items()}


def check_speakers(numbers: Iterable[int], highest: int) -> None:
    """Check that these numbers were given to speakers, of which `highest` is the newest.

    Raises:
        InvalidMessage: `unknown_speaker`.
    """
    if not all(1 <= number <= highest for number in numbers):
        raise InvalidMessage("there is no such speaker", code="unknown_speaker", fatal=False)
