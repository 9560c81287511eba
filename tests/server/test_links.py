"""Links below a path of another application. tests/server/test_readers.py has the QR codes themselves."""

from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from livecaption.errors import InvalidQuery
from livecaption.server.config import ServerConfig
from livecaption.server.keys import KEYS, Keys
from livecaption.server.links import page_of
from tests.support.cases import for_each

OWN = ServerConfig()


@for_each(
    ("path", "page"),
    [
        ("/v1/sessions/one/qr.svg", "http://localhost:8000/"),
        ("/captions/v1/sessions/one/qr.svg", "http://localhost:8000/captions/"),
        ("/captions/v1/sessions/one/qr.svg?page=https://localhost:8000/hall/", "https://localhost:8000/hall/"),
        ("/v1/sessions/one/qr.svg?page=https://LOCALHOST:8000/hall", "https://localhost:8000/hall/"),
    ],
)
def test_the_address_of_the_page_counts_else_that_of_the_request(path: str, page: str) -> None:
    assert page_of(make_mocked_request("GET", path, headers={"Host": "localhost:8000"}), OWN) == page


def test_a_page_with_the_usual_port_has_the_host_of_the_request() -> None:
    headers = {"Host": "captions.example.org", "X-Forwarded-For": "192.0.2.7"}
    url = "/v1/sessions/one/qr.svg?page=https://captions.example.org:{}/"
    app = web.Application()
    app[KEYS] = Keys(OWN)
    assert page_of(make_mocked_request("GET", url.format(443), headers=headers, app=app), OWN)
    with pytest.raises(InvalidQuery):
        page_of(make_mocked_request("GET", url.format(444), headers=headers, app=app), OWN)


@for_each(
    ("trusted", "page"),
    [
        (("127.0.0.1",), "https://captions.example.org:8443/hall/"),
        ((), "http://localhost:8000/"),
    ],
)
def test_links_begin_with_the_address_in_the_headers_of_a_trusted_proxy(trusted: tuple[str, ...], page: str) -> None:
    headers = {
        "Host": "localhost:8000",
        "X-Forwarded-For": "203.0.113.5",
        "X-Forwarded-Host": "captions.example.org:8443",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/hall",
    }
    transport = Mock(get_extra_info=lambda name, default=None: ("127.0.0.1", 4711) if name == "peername" else default)
    config = ServerConfig(trusted_proxies=trusted)
    request = make_mocked_request("GET", "/v1/sessions/one/qr.svg", headers=headers, transport=transport)
    assert page_of(request, config) == page
    if trusted:
        headers["X-Forwarded-Prefix"] = ""
        url = "/v1/sessions/one/qr.svg?page=https://captions.example.org:8443/hall/"
        assert page_of(make_mocked_request("GET", url, headers=headers, transport=transport), config) == page


def test_without_a_host_links_begin_with_the_address_of_the_socket() -> None:
    """HTTP/1.0 has no Host. Behind a Unix socket, only the proxy has an address."""
    for name, page in (("", "http://localhost/"), (("::1", 8000, 0, 0), "http://[::1]:8000/")):
        transport = Mock(get_extra_info=lambda key, default=None, name=name: name if key == "sockname" else default)
        request = make_mocked_request("GET", "/v1/sessions/one/qr.svg", headers={}, transport=transport)
        assert page_of(request, ServerConfig()) == page
