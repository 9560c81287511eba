"""Values in messages of foreign protocols. They are read leniently: what helps is taken, the rest ignored. Pure."""

from typing import Any

from livecaption.live.dialects.json_messages import is_text
from livecaption.live.dialects.native import MAX_HOTWORD_CHARACTERS, MAX_HOTWORDS


def hotwords(given: Any) -> tuple[str, ...]:
    """Return the words and phrases of a list, or of a text with commas, as far as a stream takes them."""
    phrases = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else []
    words = (phrase.strip() for phrase in phrases if is_text(phrase))
    return tuple(word for word in words if 0 < len(word) <= MAX_HOTWORD_CHARACTERS)[:MAX_HOTWORDS]
