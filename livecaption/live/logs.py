"""Limits on repeated lines of the log, because clients can cause the same line again and again."""

import logging
from collections.abc import Callable

MINUTE_S = 60.0


class RateLimited(logging.Filter):
    """Pass few records of one kind in a minute, each as one line without a traceback, and all of other kinds.

    The last one that passes announces that more are suppressed; the next one after that has their number.

    Args:
        line: takes a record and returns the line to log instead; None: it is of another kind.
        per_minute: the number of records that pass, at least 1.
    """

    def __init__(self, line: Callable[[logging.LogRecord], str | None], per_minute: int = 3) -> None:
        super().__init__()
        self._line = line
        self.per_minute = per_minute
        self._began_s = 0.0
        self._n_passed = 0
        self._n_suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide whether the record is logged; one that is may be rewritten."""
        line = self._line(record)
        if line is None:
            return True
        if not 0 <= record.created - self._began_s < MINUTE_S:  # negative if the clock was set back
            self._began_s, self._n_passed = record.created, 0
        if self._n_passed >= self.per_minute:
            self._n_suppressed += 1
            return False
        self._n_passed += 1
        if self._n_suppressed:
            line += f" ({self._n_suppressed} more before it were suppressed)"
            self._n_suppressed = 0
        if self._n_passed == self.per_minute:
            line += "; more of this minute are suppressed"
        record.msg, record.args = line, ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def refused(record: logging.LogRecord) -> str | None:
    """Return the line of a stream or recording that is refused: a client can ask again and again."""
    message = record.getMessage()
    return message if message.startswith(("a stream is refused", "a recording is refused")) else None


FEW_REFUSALS = RateLimited(refused, per_minute=60)
"""One filter for all loggers of such lines."""
