"""The links that people share. Each has one source: `--public-url`, else the address that the page has."""

from aiohttp import web

from livecaption.errors import InvalidQuery
from livecaption.server import auth
from livecaption.server.addresses import Listening
from livecaption.server.config import ServerConfig
from livecaption.server.origins import origin_of, page_url

LISTENING: web.AppKey[Listening] = web.AppKey("listening", Listening)


def page_of(request: web.Request, config: ServerConfig) -> str:
    """Return the address of the publisher's page, with `/` at its end; links to other pages begin with it.

    The page sends its own address as `?page=`. The server cannot find it out: a proxy may have changed the path, the
    scheme and the name, and not all say so. To draw links to this server only, the address must have the host of the
    request, or be one of those that `/v1/info` offers. Without it, the address of the request counts.

    Raises:
        InvalidQuery: `page` is no address, or one of another server.
    """
    if config.public_page is not None:
        return config.public_page
    if "page" not in request.query:
        return _requested_page(request, config)
    page = page_url(request.query["page"])
    if page is None or not _is_ours(page, request, config):
        raise InvalidQuery("page must be the address of a page of this server")
    return page


def _requested_page(request: web.Request, config: ServerConfig) -> str:
    client = auth.client_of(request, config)
    path = request.path.rpartition("/v1/")[0]  # of an application in which this one is mounted
    return f"{client.scheme}://{client.host or _host_of_socket(request)}{client.prefix}{path}/"


def _host_of_socket(request: web.Request) -> str:
    """Return the address at which the client has reached the server. HTTP/1.0 has no Host header."""
    assert request.transport is not None  # because the request is being answered
    name = request.transport.get_extra_info("sockname")
    if not isinstance(name, tuple):
        return "localhost"  # a Unix socket: only the proxy has an address
    host, port = name[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def _is_ours(page: str, request: web.Request, config: ServerConfig) -> bool:
    scheme = page.partition(":")[0]
    host = auth.client_of(request, config).host or _host_of_socket(request)
    if origin_of(page) == origin_of(f"{scheme}://{host}"):
        return True
    return auth.may_see_addresses(request, config) and page in request.app[LISTENING].urls()
