"""Log records, and the lines that a handler would write for them."""

import logging

from livecaption.live.logs import RateLimited


def record(message: str, at_s: float = 1000.0, error: Exception | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error is not None else None
    made = logging.LogRecord("asyncio", logging.ERROR, "x.py", 1, message, (), exc_info)
    made.created = at_s
    return made


def passed(limit: RateLimited, *records: logging.LogRecord) -> list[str]:
    """Return the lines that a handler would write for the records that pass."""
    return [logging.Formatter("%(message)s").format(each) for each in records if limit.filter(each)]
