"""Filters for the log records of libraries: one line each, at a limited rate, and without text that clients sent."""

import logging

from aiohttp.http_exceptions import HttpProcessingError

from livecaption.live.logs import RateLimited


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


WITHOUT_REQUESTS = RateLimited(malformed_request)
"""The filter of all applications of the process. They share aiohttp's logger, and it gets each filter only once."""
