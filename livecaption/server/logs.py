"""Log lines of libraries, made fit for our log: short, few, and without what clients have sent."""

import logging
import time
from collections import deque
from collections.abc import Callable

from aiohttp.http_exceptions import HttpProcessingError

MAX_PER_MINUTE = 3


class WithoutRequests(logging.Filter):
    """For the logger `aiohttp.server`, which logs a malformed request with its line, and any token in it.

    The record becomes one line without content. There are at most `MAX_PER_MINUTE` of them, each with the number of
    those that were left out before it.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._told_s: deque[float] = deque(maxlen=MAX_PER_MINUTE)
        self._n_left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_about_a_malformed_request(record):
            return True
        now_s = self._now_s()
        if len(self._told_s) == MAX_PER_MINUTE and now_s - self._told_s[0] < 60.0:
            self._n_left_out += 1
            return False
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = "a malformed request was refused (%d more before this one)", (self._n_left_out,)
        record.exc_info = record.exc_text = record.stack_info = None
        self._told_s.append(now_s)
        self._n_left_out = 0
        return True


WITHOUT_REQUESTS = WithoutRequests()
"""One for all applications of the process, as their logger is one: a filter is added to it once."""


def _is_about_a_malformed_request(record: logging.LogRecord) -> bool:
    """Whether an exception of the HTTP parser is at the bottom of it: their texts quote the request."""
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if isinstance(error, HttpProcessingError):
            return True
        error = error.__cause__ or error.__context__
    return False
