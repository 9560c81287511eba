"""Read JSON messages of clients, and judge the texts in them. Pure."""

import json
from typing import Any, TypeGuard

from livecaption.errors import InvalidMessage


def json_object(text: str | bytes, *, fatal: bool = True) -> dict[str, Any]:
    """Read a message whose size was judged.

    Raises:
        InvalidMessage: it is not a JSON object. `fatal` is that of the error.
    """
    try:
        given = json.loads(text)
    # Deep nesting is a RecursionError, and a number of 5000 digits a ValueError.
    except (ValueError, RecursionError):
        raise InvalidMessage("the message is not JSON", fatal=fatal) from None
    if not isinstance(given, dict):
        raise InvalidMessage("the message is not a JSON object", fatal=fatal)
    return given


def is_text(given: Any) -> TypeGuard[str]:
    """Return True if this is a text of valid Unicode. JSON can spell lone surrogates, which no caption can carry."""
    if not isinstance(given, str):
        return False
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True
