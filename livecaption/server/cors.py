"""CORS: pages of `allowed_origins` may use the API, and read what it answers (Fetch standard, 3.2).

Nothing here depends on cookies, so there is no `Access-Control-Allow-Credentials`. A page has what it sends itself: a
token, or the id of a session. Pages of other origins get no header of CORS, so browsers keep the answers from them.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from aiohttp import hdrs, web

from livecaption.server import auth
from livecaption.server.config import ServerConfig
from livecaption.server.services import SERVICES

REQUEST_HEADERS = "Authorization, Content-Type, Last-Event-ID, Range"
"""Headers that requests of pages may have."""
RESPONSE_HEADERS = "Accept-Ranges, Content-Range, Retry-After, X-Request-Id"
"""Headers of answers that pages may read, beyond those that they always may."""
MAX_AGE_S = 600
"""Time that browsers may keep the answer to `OPTIONS`. Longer: a change of the settings takes effect later. Shorter:
more requests."""


def shared(routes: Iterable[web.RouteDef]) -> Sequence[web.RouteDef]:
    """Return the routes with `OPTIONS` for each path, which makes them those that pages of other origins may use.

    Routes with the same path must follow each other.
    """
    paths = groupby(routes, key=attrgetter("path"))
    return [route for path, own in paths for route in (*own, web.options(path, options))]


async def options(request: web.Request) -> web.Response:
    """`OPTIONS`: the methods of an address. A browser asks this before a page of an allowed origin sends a token.

    Raises:
        ForbiddenOrigin: the page has another origin.
    """
    auth.check_origin(request, request.app[SERVICES].config.server)
    resource = request.match_info.route.resource
    methods = ", ".join(sorted(route.method for route in resource or ()))
    return web.Response(status=204, headers={hdrs.ALLOW: methods})


def add_headers(request: web.Request, response: web.StreamResponse, config: ServerConfig) -> None:
    """Add the headers of CORS to a response of a shared route."""
    resource = request.match_info.route.resource
    if not config.allowed_origins or not any(route.method == hdrs.METH_OPTIONS for route in resource or ()):
        return
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    if not auth.is_of_allowed_origin(request, config):
        return
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request.headers[hdrs.ORIGIN]
    response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = RESPONSE_HEADERS
    if request.method == hdrs.METH_OPTIONS:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = response.headers.get(hdrs.ALLOW, "")
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = REQUEST_HEADERS
        response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(MAX_AGE_S)
