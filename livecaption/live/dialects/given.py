"""Values in messages of foreign protocols. They are read leniently: what helps is taken, the rest ignored. Pure."""

import json
from typing import Any, TypeGuard

from livecaption.errors import InvalidMessage
from livecaption.live.dialects.native import MAX_HOTWORD_CHARACTERS, MAX_HOTWORDS


def json_object(text: str | bytes) -> dict[str, Any]:
    """Read a message whose size was judged.

    Raises:
        InvalidMessage: it is not a JSON object.
    """
    try:
        given = json.loads(text)
    # Deep nesting is a RecursionError, and a number of 5000 digits a ValueError.
    except (ValueError, RecursionError):
        raise InvalidMessage("the message is not JSON") from None
    if not isinstance(given, dict):
        raise InvalidMessage("the message is not a JSON object")
    return given


def hotwords(given: Any) -> tuple[str, ...]:
    """Return the words and phrases of a list, or of a text with commas, as far as a stream takes them."""
    phrases = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else []
    words = (phrase.strip() for phrase in phrases if is_text(phrase))
    return tuple(word for word in words if 0 < len(word) <= MAX_HOTWORD_CHARACTERS)[:MAX_HOTWORDS]


def is_text(given: Any) -> TypeGuard[str]:
    """Return True if this is a text of valid Unicode. JSON can spell lone surrogates, which no caption can carry."""
    if not isinstance(given, str):
        return False
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True
