"""The pages, the health checks, the figures, and the headers of every HTTP response."""

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

import livecaption
from livecaption import __version__
from livecaption.errors import InvalidMessage, LivecaptionError
from livecaption.events import PROTOCOL_VERSION
from livecaption.ipc import logs
from livecaption.live.dialects import native
from livecaption.live.dialects.dialect import HttpAnswer
from livecaption.server import auth, bodies, cors, forwarded, links, merging
from livecaption.server.config import ServerConfig
from livecaption.server.elsewhere import takes_streams
from livecaption.server.logs import Refusals, route_of
from livecaption.server.metrics import CONTENT_TYPE, exposition_of
from livecaption.server.origins import host_name, origin_of
from livecaption.server.services import METRICS, SERVICES
from livecaption.wire import from_plain


def static_directory(package: Path) -> Path:
    """Return the directory of the pages: in the installed package, or beside it in a checkout.

    importlib cannot find it if an old pip, such as Debian 12's, made a development install, because that maps no
    package to a directory with another name.
    """
    installed = package / "static"
    return installed if installed.is_dir() else package.parent / "static"


STATIC = static_directory(Path(livecaption.__file__).parent)

OF_ACCESS = frozenset(
    {
        *("forbidden_origin", "forbidden_host", "unauthorized", "wrong_token", "local_only"),
        *("forbidden_role", "too_many_attempts", "too_many_streams", "minutes_used_up"),
    }
)
"""Codes of refusals that are logged, because mostly the operator must change something."""

REFUSALS: web.AppKey[Refusals] = web.AppKey("refusals", Refusals)
OWN_NAMES: web.AppKey[auth.OwnNames] = web.AppKey("own names", auth.OwnNames)

WATCH = "/watch/{room}"
"""The readers' page, the only one that pages of `allowed_frames` may show in a frame."""

SECURITY_HEADERS = {
    "Permissions-Policy": "microphone=(self), display-capture=(self), camera=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def content_security_policy(hosts: Iterable[str], frames: Sequence[str] = ()) -> str:
    """Allow only the server's own scripts, styles and connections, and `data:` for images in style sheets.

    Args:
        hosts: hosts of the page, listed because older Safari does not apply 'self' to WebSockets of the same host.
        frames: origins whose pages may show this one in a frame.
    """
    sockets = "".join(f" ws://{host} wss://{host}" for host in hosts if host_name(host))
    ancestors = " ".join(frames) or "'none'"
    return (
        f"default-src 'self'; connect-src 'self'{sockets}; img-src 'self' data:; "
        f"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    )


async def body_of(request: web.Request, kind: type[Any], *, lenient: bool = False) -> Any:
    """Read the JSON body of a request as a dataclass of this kind: see `wire.from_plain`.

    Raises:
        InvalidMessage: it is none.
        TooSlow: it has not come in time.
    """
    await bodies.arrival(request)
    try:
        return from_plain(kind, await request.json(), lenient=lenient)
    except (ValueError, LookupError, RecursionError) as error:  # LookupError: an unknown charset
        raise InvalidMessage(f"the body is not the JSON object that is expected: {error}") from None


async def page(_: web.Request) -> web.FileResponse:
    """`GET /`: the publisher's page."""
    return web.FileResponse(STATIC / "index.html")


async def healthz(_: web.Request) -> web.Response:
    """`GET /healthz`: 200 while the event loop runs, in any state of the workers.

    Otherwise a service manager that restarts the server on a failed check would interrupt every recovery of a worker.
    """
    return web.json_response({"state": "alive"})


async def readyz(request: web.Request) -> web.Response:
    """`GET /readyz`: 200 if a process would accept a new stream, else 503 with the reason of this one."""
    services = request.app[SERVICES]
    try:
        services.cut_off.check()
        if takes_streams(services) or (services.siblings is not None and await services.siblings.first_that("ready")):
            return web.json_response({"state": "ready"})
        services.sessions.check_admission()
    except LivecaptionError as error:
        return error_response(error, state=error.code)
    return web.json_response({"state": "recovering"}, status=503, headers={hdrs.RETRY_AFTER: "1"})


async def info(request: web.Request) -> web.Response:
    """`GET /v1/info`: version, protocol, state and model of this server, its addresses, and what it keeps."""
    services = request.app[SERVICES]
    pool, config = services.pool, services.config
    model = None
    if pool.loaded is not None:
        model = {
            "name": pool.loaded.model,
            "revision": pool.loaded.revision or None,
            "device": pool.loaded.device,
            "compute_type": pool.loaded.compute_type,
            "languages": list(pool.loaded.languages),
            "translates": pool.loaded.translates,
            "tracks": list(pool.loaded.tracks),
            "speakers": pool.loaded.speakers,
        }
    # Strangers, also those behind a proxy, get no addresses of the network in which the server stands.
    is_kept = services.store is not None
    sees_addresses = auth.may_see_addresses(request, config.server)
    return web.json_response(
        {
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "state": pool.state.value,
            "model": model,
            "public_url": config.server.public_page,
            "addresses": request.app[links.LISTENING].urls() if sees_addresses else [],
            "transcripts": {"kept": is_kept, "keep_days": (config.store.keep_days or None) if is_kept else None},
        }
    )


async def stats_page(_: web.Request) -> web.FileResponse:
    """`GET /stats`: the page with live figures. The page itself has no figures and requests `/v1/stats`."""
    return web.FileResponse(STATIC / "stats.html")


async def sessions_page(_: web.Request) -> web.FileResponse:
    """`GET /sessions`: the page with stored transcripts. The page itself has none and requests `/v1/sessions`."""
    return web.FileResponse(STATIC / "sessions.html")


async def stats(request: web.Request) -> web.Response:
    """`GET /v1/stats`: the figures of `metrics` as JSON, with the latencies of the last minute."""
    auth.check_access(request)
    siblings = request.app[SERVICES].siblings
    if siblings is None:
        return web.json_response(request.app[METRICS].snapshot())
    found = await siblings.ask("stats")
    processes = {str(number): found.get(number) for number in siblings.numbers}
    return web.json_response({**merging.one_of(list(found.values())), "processes": processes})


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: the figures in the text format of Prometheus."""
    auth.check_access(request)
    siblings = request.app[SERVICES].siblings
    if siblings is None:
        body = await request.app[METRICS].exposition()
    else:
        found = await siblings.ask("metrics")
        body = await exposition_of(merging.labelled(found) + merging.up(siblings.numbers, found))
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})


def error_response(error: LivecaptionError, **fields: object) -> web.Response:
    """Return the error as an HTTP response: status, JSON with the same `code`, and `Retry-After` if it is known."""
    return answer(native.refusal(error, "", **fields))


def answer(refusal: HttpAnswer) -> web.Response:
    """Return a dialect's answer as a response."""
    return web.Response(status=refusal.status, text=refusal.body, headers=refusal.headers)


def log_refusal(request: web.Request, error: LivecaptionError) -> None:
    """Log the refusal of a request by its host, origin or token. No line has a query, a token or an id."""
    logs.note(code=error.code)
    if error.code in OF_ACCESS:
        client = auth.client_of(request, request.app[SERVICES].config.server)
        route = f"{request.method} {route_of(request)}" if route_of(request) else "an unknown address"
        page = request.query.get("page", "")
        origin = request.headers.get(hdrs.ORIGIN, "/".join(page.split("/")[:3]) if origin_of(page) else None)
        key = auth.key_of(request)
        request.app[REFUSALS].log(
            error.code, route, client.address, client.host, origin, None if key is None else key.name
        )


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse wrong host names, and answer errors as JSON in the form of the protocol."""
    config = request.app[SERVICES].config.server
    given = forwarded.request_id_of(auth.peer_of(request), request.headers, config.trusted_proxies)
    # Not only until the response is there: aiohttp logs faults and accesses later, in the task of this request.
    logs.begin(logs.Subject(given or str(uuid4()), auth.client_of(request, config).address))
    try:
        auth.check_host(request, config, request.app[OWN_NAMES])
        return await handler(request)
    except LivecaptionError as error:
        log_refusal(request, error)
        return error_response(error)
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response(status=400)  # never received: the client left before its stream began
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise web.HTTPNotFound from None  # a path that no file can have


async def add_headers(request: web.Request, response: web.StreamResponse, config: ServerConfig) -> None:
    """Add the headers of security and of CORS to each response. A handler of aiohttp's `on_response_prepare`."""
    hosts = dict.fromkeys((auth.client_of(request, config).host, urlsplit(config.public_page or "").netloc))
    resource = request.match_info.route.resource
    frames = config.allowed_frames if resource is not None and resource.canonical.endswith(WATCH) else ()
    # A new page must not run with cached scripts of the version before. A response to a token must not be shared.
    caching = "private, no-store" if auth.shows_a_token(request) else "no-cache"
    own = {"Content-Security-Policy": content_security_policy(hosts, frames), hdrs.CACHE_CONTROL: caching}
    if request_id := logs.request_id():
        own[forwarded.REQUEST_ID] = request_id
    for name, value in (SECURITY_HEADERS | own).items():
        response.headers.setdefault(name, value)
    cors.add_headers(request, response, config)
