"""Lines about requests, without text that clients sent: accesses, refusals, and records of libraries.

None of them has a query, a token, or a path with the id of a session or the name of a room.
"""

import logging
from collections import OrderedDict, defaultdict
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from livecaption.live.logs import RateLimited

MAX_SHOWN_CHARACTERS = 100
"""Characters of a header in one line. Longer: clients write more into the log. Shorter: long names of hosts are cut."""

MAX_REFUSALS_PER_MINUTE = 60
"""Lines about refusals of one code, of all addresses. More: strangers with many addresses write more into the log."""
MAX_ADDRESSES = 1000
"""The newest pairs of code and address whose refusals are counted. More: more memory. Fewer: they get more lines."""

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("livecaption.access")


def route_of(request: web.BaseRequest) -> str:
    """Return the path with the names of its parts in place of ids; empty: there is no such address."""
    try:
        resource = request.match_info.route.resource if isinstance(request, web.Request) else None
    except (AssertionError, AttributeError):
        # No route was looked up for a malformed request. aiohttp asserts that one was; `python -O` does not.
        resource = None
    return resource.canonical if resource is not None else ""


class AccessLog(AbstractAccessLogger):
    """Logs a line for each request at the end of its response, and for each WebSocket after its close."""

    @property
    def enabled(self) -> bool:
        """True if lines of this level are logged."""
        return self.logger.isEnabledFor(logging.INFO)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log one line. Called in the task of the request."""
        if "handed over" in request:
            return  # another process answers it, and logs it
        details: dict[str, object] = {
            "method": request.method if request.method in hdrs.METH_ALL else "-",
            "route": route_of(request) or "-",
            "status": response.status,
            "ms": round(time * 1000),
        }
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            # A file may go past the writer, straight from the disk to the socket.
            size = response.content_length if isinstance(response, web.FileResponse) else request.writer.output_size
            details["bytes"] = size or 0
        n_bytes = f"{details['bytes']} bytes" if "bytes" in details else "a WebSocket"
        line = "%(method)s %(route)s %(status)d, " + n_bytes + ", %(ms)d ms"
        self.logger.info(line, details, extra=details)


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
    """Logs requests that are refused, so that an operator finds out what a proxy sends: few of a code in a minute.

    Each address has its own few, so that a stranger with wrong tokens does not hide them.
    """

    def __init__(self) -> None:
        self._few: defaultdict[str, RateLimited] = defaultdict(
            lambda: RateLimited(logging.LogRecord.getMessage, MAX_REFUSALS_PER_MINUTE)
        )
        self._few_of_address: OrderedDict[tuple[str, str], RateLimited] = OrderedDict()

    def log(self, code: str, route: str, peer: str, host: str, origin: str | None, key: str | None) -> None:
        """Log one refusal.

        Args:
            code: why, as the client receives it.
            route: the path with the names of its parts, because the parts of some paths are ids of sessions.
            peer: the address of the client; empty if it is unknown.
            host, origin: the headers, of which an origin may be missing. They are cut and quoted.
            key: the name of the key that the client has; None: none, or the server does not look at it.
        """
        line = "refused: %s for %s, from %s with host %a, origin %a and key %a"
        shown = origin if origin is None else origin[:MAX_SHOWN_CHARACTERS]
        arguments = (code, route, peer or "an unknown address", host[:MAX_SHOWN_CHARACTERS], shown, key)
        about = {"code": code, "host": arguments[3], "origin": shown, "key": key}
        record = logger.makeRecord(logger.name, logging.WARNING, "", 0, line, arguments, None, extra=about)
        few = self._few_of_address.pop((code, peer), None) or RateLimited(logging.LogRecord.getMessage)
        self._few_of_address[code, peer] = few
        if len(self._few_of_address) > MAX_ADDRESSES:
            self._few_of_address.popitem(last=False)
        if few.filter(record) and self._few[code].filter(record):
            logger.handle(record)


WITHOUT_REQUESTS = RateLimited(malformed_request)
"""The filter of all applications of the process. They share aiohttp's logger, and it gets each filter only once."""
