"""What libraries log about us, made fit for our log: one line each, few of them, and nothing that clients have sent."""

import logging
from collections.abc import Callable

from aiohttp.http_exceptions import HttpProcessingError

MINUTE_S = 60.0


class RateLimited(logging.Filter):
    """Pass few records of one kind in a minute, each as one line without a traceback, and all of other kinds.

    The last one that passes says that more are suppressed, and the next one after that how many were.

    Args:
        line: takes a record and returns what to log instead; None: it is of another kind.
        per_minute: how many pass, at least 1.
    """

    def __init__(self, line: Callable[[logging.LogRecord], str | None], per_minute: int = 3) -> None:
        super().__init__()
        self._line = line
        self._per_minute = per_minute
        self._began_s = 0.0
        self._n_passed = 0
        self._n_suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged; one that is may be rewritten."""
        line = self._line(record)
        if line is None:
            return True
        if not 0 <= record.created - self._began_s < MINUTE_S:  # below 0: the clock was set back
            self._began_s, self._n_passed = record.created, 0
        if self._n_passed >= self._per_minute:
            self._n_suppressed += 1
            return False
        self._n_passed += 1
        if self._n_suppressed:
            line += f" ({self._n_suppressed} more before it were suppressed)"
            self._n_suppressed = 0
        if self._n_passed == self._per_minute:
            line += "; more of this minute are suppressed"
        record.msg, record.args = line, ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def refused_accept(record: logging.LogRecord) -> str | None:
    """One line for what asyncio says, with a traceback, of each connection that finds no descriptor left."""
    if not record.getMessage().startswith("socket.accept() out of system resource"):
        return None
    error = record.exc_info[1] if record.exc_info else "out of system resource"
    return f"no connection can be accepted just now: {error}"


def malformed_request(record: logging.LogRecord) -> str | None:
    """One line without content for what aiohttp says of a malformed request: with its line, and any token in it."""
    error = record.exc_info[1] if record.exc_info else None
    # An exception of the HTTP parser, whose text quotes the request, may be at the bottom of another one.
    while error is not None and not isinstance(error, HttpProcessingError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    record.levelno, record.levelname = logging.WARNING, "WARNING"  # nothing of ours failed
    return "a malformed request was refused"


def refused_stream(record: logging.LogRecord) -> str | None:
    """What is said of each stream that is refused: a client can ask again and again."""
    message = record.getMessage()
    return message if message.startswith("a stream is refused") else None


WITHOUT_REQUESTS = RateLimited(malformed_request)
"""One for all applications of the process, as their logger is one: a filter is added to it once."""
FEW_REFUSALS = RateLimited(refused_stream, per_minute=60)
"""One for all loggers that say so."""
