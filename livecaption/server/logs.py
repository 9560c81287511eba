"""What libraries log about us, made fit for our log: one line each, few of them, and nothing that clients have sent."""

import logging

from aiohttp.http_exceptions import HttpProcessingError

from livecaption.live.logs import RateLimited


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


WITHOUT_REQUESTS = RateLimited(malformed_request)
"""One for all applications of the process, as their logger is one: a filter is added to it once."""
