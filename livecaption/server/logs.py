"""Filters for the log records of libraries: one line each, at a limited rate, and without text that clients sent."""

import logging
from collections import defaultdict

from aiohttp.http_exceptions import HttpProcessingError

from livecaption.live.logs import RateLimited

MAX_SHOWN_CHARACTERS = 100
"""Characters of a header in one line. Longer: clients write more into the log. Shorter: long names of hosts are cut."""

logger = logging.getLogger(__name__)


def refused_accept(record: logging.LogRecord) -> str | None:
    """Return one line for asyncio's record of a connection that got no descriptor, which has a traceback."""
    if not record.getMessage().startswith("socket.accept() out of system resource"):
        return None
    error = record.exc_info[1] if record.exc_info else "out of system resource"
    return f"no connection can be accepted just now: {error}"


def malformed_request(record: logging.LogRecord) -> str | None:
    """Return one line for aiohttp's record of a malformed request, which quotes the request and any token in it."""
    error = record.exc_info[1] if record.exc_info else None
    # The exception of the HTTP parser, whose text quotes the request, may be the cause of another one.
    while error is not None and not isinstance(error, HttpProcessingError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    record.levelno, record.levelname = logging.WARNING, "WARNING"  # the server itself did not fail
    return "a malformed request was refused"


class Refusals:
    """Logs requests that are refused, so that an operator finds out what a proxy sends: few of a code in a minute."""

    def __init__(self) -> None:
        self._few: defaultdict[str, RateLimited] = defaultdict(lambda: RateLimited(logging.LogRecord.getMessage))

    def log(self, code: str, route: str, peer: str, host: str, origin: str | None) -> None:
        """Log one refusal.

        Args:
            code: why, as the client receives it.
            route: the path with the names of its parts, because the parts of some paths are ids of sessions.
            peer: the address of the client; empty if it is unknown.
            host, origin: the headers, of which an origin may be missing. They are cut and quoted.
        """
        line = "refused: %s for %s, from %s with host %a and origin %a"
        shown = origin if origin is None else origin[:MAX_SHOWN_CHARACTERS]
        arguments = (code, route, peer or "an unknown address", host[:MAX_SHOWN_CHARACTERS], shown)
        record = logger.makeRecord(logger.name, logging.WARNING, "", 0, line, arguments, None)
        if self._few[code].filter(record):
            logger.handle(record)


WITHOUT_REQUESTS = RateLimited(malformed_request)
"""The filter of all applications of the process. They share aiohttp's logger, and it gets each filter only once."""
