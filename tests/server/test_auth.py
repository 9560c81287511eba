"""The checks of origin, host name and token."""

import asyncio
import base64
import socket
import threading
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import WSServerHandshakeError
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from livecaption.errors import ForbiddenOrigin
from livecaption.server import auth
from livecaption.server.config import ServerConfig
from livecaption.server.http import OWN_NAMES
from tests.support.cases import for_each
from tests.support.eventually import eventually
from tests.support.serving import Client, StartServer, read_event

TOKEN = "a secret/with+odd=characters"


async def stream_status(client: Client, **headers: str) -> tuple[int, str]:
    answer = await client.get("/v1/stream", headers=headers)
    return answer.status, (await answer.json())["code"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("", 403),
        ("http://127.0.0.1:1", 403),
        ("https://friend.example", 426),
    ],
)
async def test_pages_of_other_sites_may_not_stream_unless_they_are_allowed(
    start_server: StartServer, origin: str, status: int
) -> None:
    client = await start_server(allowed_origins=("https://friend.example",))
    assert (await stream_status(client, Origin=origin))[0] == status


@for_each(
    ("origin", "host", "accepted"),
    [
        ("https://captions.example.org", "captions.example.org", True),
        ("https://captions.example.org", "Captions.Example.org:443", True),
        ("https://captions.example.org:443", "captions.example.org", True),
        ("http://[2001:DB8::7]:8000", "[2001:db8::7]:8000", True),
        ("https://captions.example.org", "captions.example.org:80", False),
        ("http://captions.example.org:8000", "captions.example.org", False),
        ("https://public.example", "127.0.0.1:8000", True),  # a proxy has changed the name
        ("http://public.example", "127.0.0.1:8000", False),
        ("HTTPS://FRIEND.example:443", "127.0.0.1:8000", True),
        ("http://friend.example", "127.0.0.1:8000", False),
        ("https://friend.example:8443", "127.0.0.1:8000", False),
        ("https://captions.example.org.evil.example", "127.0.0.1:8000", False),
        ("https://evil@captions.example.org", "captions.example.org", False),
    ],
)
def test_origins_are_compared_by_scheme_host_and_port(origin: str, host: str, accepted: bool) -> None:
    config = ServerConfig(allowed_origins=("https://friend.example",), public_url="https://Public.example/hall")
    request = make_mocked_request("GET", "/v1/stream", headers={"Origin": origin, "Host": host})
    with nullcontext() if accepted else pytest.raises(ForbiddenOrigin):
        auth.check_origin(request, config)


@for_each(("page", "accepted"), [("https://captions.example.org", True), ("http://captions.example.org", False)])
def test_a_server_with_tls_accepts_no_page_that_came_without_it(page: str, accepted: bool) -> None:
    headers = {"Host": "captions.example.org", "Origin": page}
    request = make_mocked_request("GET", "/v1/stream", headers=headers, sslcontext=Mock())
    assert request.scheme == "https"
    with nullcontext() if accepted else pytest.raises(ForbiddenOrigin):
        auth.check_origin(request, ServerConfig())


async def test_a_page_learns_by_its_address_that_its_websocket_would_be_refused(start_server: StartServer) -> None:
    """Browsers send no Origin when a page requests its own server by GET, and hide why a WebSocket is refused."""
    client = await start_server(public_url="https://captions.example.org/hall")
    for page in ("https://captions.example.org/hall/", "https://Captions.example.org:443/"):
        assert (await client.get("/v1/stream", params={"page": page})).status == 426
    for page in ("https://captions.example.org:8443/", "http://captions.example.org/", "null", ""):
        answer = await client.get("/v1/stream", params={"page": page})
        refusal = await answer.json()
        assert (answer.status, refusal["code"]) == (403, "forbidden_origin")
        assert all(option in refusal["message"] for option in ("--public-url", "--allowed-origin"))


PUBLIC = {"public_url": "https://public.example/hall"}
TRUSTING = {"trusted_proxies": ("127.0.0.1",)}
HALL = {"allowed_hosts": ("hall",)}


@for_each(
    ("settings", "headers", "code"),
    [
        # A proxy on another port, or one that sends the name of its upstream, as nginx does by default.
        ({}, {"Host": "localhost", "Origin": "http://localhost:8080"}, "forbidden_origin"),
        ({"public_url": "http://localhost:8080"}, {"Host": "localhost", "Origin": "http://localhost:8080"}, ""),
        (PUBLIC, {"Host": "127.0.0.1:8000", "Origin": "https://public.example"}, ""),
        ({"allowed_hosts": ("[FD00::5]",)}, {"Host": "[fd00::5]:8000"}, ""),
        ({"allowed_hosts": ("fd00::5",)}, {"Host": "[fd00::5]:8000"}, ""),
        (PUBLIC, {"Host": "livecaption", "Origin": "https://public.example"}, "forbidden_host"),
        (TRUSTING, {"X-Forwarded-Host": "localhost:8080", "Origin": "http://localhost:8080"}, ""),
        (TRUSTING | PUBLIC, {"Host": "livecaption", "X-Forwarded-Host": "public.example"}, ""),
        # A page that came without TLS may be anybody's on the way.
        (TRUSTING | HALL, {"Host": "hall", "X-Forwarded-Proto": "https", "Origin": "https://hall"}, ""),
        (TRUSTING | HALL, {"Host": "hall", "X-Forwarded-Proto": "https", "Origin": "http://hall"}, "forbidden_origin"),
        (HALL, {"Host": "hall", "X-Forwarded-Proto": "https", "Origin": "http://hall"}, ""),
        (TRUSTING, {"Host": "localhost", "X-Forwarded-Host": "evil.example"}, "forbidden_host"),
        (
            {"trusted_proxies": ("10.0.0.0/8",)},
            {"Host": "livecaption", "X-Forwarded-Host": "localhost"},
            "forbidden_host",
        ),
        ({"allowed_origins": ("null",)}, {"Host": "localhost", "Origin": "null"}, ""),
        ({"allowed_origins": ("null",)}, {"Host": "localhost", "Origin": "file://"}, "forbidden_origin"),
    ],
)
def test_host_and_origin_are_those_that_the_browser_has_sent(
    settings: dict[str, Any], headers: dict[str, str], code: str
) -> None:
    transport = Mock(get_extra_info=lambda name, default=None: ("127.0.0.1", 4711) if name == "peername" else default)
    request = make_mocked_request("GET", "/v1/stream", headers=headers, transport=transport)
    config = ServerConfig(**settings)
    with nullcontext() if not code else pytest.raises(ForbiddenOrigin) as refusal:
        auth.check_host(request, config, auth.OwnNames())
        auth.check_origin(request, config)
    assert (refusal.value.code if refusal else "") == code


@for_each(
    ("settings", "peer", "host", "is_here"),
    [
        ({}, "127.0.0.1", "localhost:8000", True),
        # nginx as in tutorials: it sends the name of its upstream, and no header of its own.
        (PUBLIC, "127.0.0.1", "127.0.0.1:8000", False),
        (PUBLIC, "127.0.0.1", "localhost:8000", False),
        ({"public_url": "http://localhost:8080"}, "127.0.0.1", "localhost:8080", True),
        # A trusted proxy without its headers.
        (TRUSTING, "127.0.0.1", "localhost:8000", False),
        (TRUSTING, "::ffff:127.0.0.1", "localhost:8000", False),
        (TRUSTING, "::1", "localhost:8000", True),
        ({"trusted_proxies": ("10.0.0.0/8",)}, "127.0.0.1", "localhost:8000", True),
    ],
)
def test_nobody_runs_here_if_the_settings_show_a_proxy_in_front(
    settings: dict[str, Any], peer: str, host: str, is_here: bool
) -> None:
    transport = Mock(get_extra_info=lambda name, default=None: (peer, 4711) if name == "peername" else default)
    request = make_mocked_request("GET", "/v1/sessions", headers={"Host": host}, transport=transport)
    assert auth.runs_here(request, ServerConfig(**settings)) is is_here


@for_each(
    ("site", "is_here"),
    [("same-origin", True), ("none", True), ("cross-site", False), ("same-site", False)],
)
def test_a_page_of_another_origin_does_not_run_here_though_browsers_send_no_origin_with_a_get(
    site: str, is_here: bool
) -> None:
    transport = Mock(get_extra_info=lambda name, default=None: ("127.0.0.1", 4711) if name == "peername" else default)
    headers = {"Host": "localhost:8000", "Sec-Fetch-Site": site}
    request = make_mocked_request("GET", "/v1/sessions", headers=headers, transport=transport)
    assert auth.runs_here(request, ServerConfig()) is is_here


async def test_refusals_are_logged_with_what_the_operator_needs_and_nothing_secret(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = await start_server(token=TOKEN, trusted_proxies=("127.0.0.1",), wait=False)
    passed_on = {"X-Forwarded-For": "203.0.113.5"}
    await client.get("/v1/stream?page=https://a.example/&x=hush", headers=passed_on)
    await client.get(
        "/v1/rooms/hush?x=hush", headers={**passed_on, "Host": "captions.example", "Origin": "https://\xe9"}
    )
    await client.get("/v1/stats?x=hush", headers={**passed_on, "Authorization": "Bearer hush"})
    lines = [record.getMessage() for record in caplog.records if record.name == "livecaption.server.logs"]
    host = f"{client.host}:{client.port}"
    assert lines == [
        f"refused: forbidden_origin for GET /v1/stream, from 203.0.113.5 with host '{host}', origin "
        "'https://a.example' and key None",
        "refused: forbidden_host for GET /v1/rooms/{room}, from 203.0.113.5 with host 'captions.example', origin "
        "'https://\\xe9' and key None",
        f"refused: unauthorized for GET /v1/stats, from 203.0.113.5 with host '{host}', origin None and key None",
    ]
    assert "hush" not in caplog.text


async def test_few_refusals_of_a_kind_are_logged_in_a_minute(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = await start_server(token=TOKEN, wait=False)
    for origin in map(str, range(30)):
        await client.get("/v1/stream", headers={"Origin": origin})
        await client.get("/v1/stats")
    lines = [record.getMessage() for record in caplog.records if record.name == "livecaption.server.logs"]
    assert ["unauthorized" in line for line in lines] == [False, True] * 3
    assert lines[-1].endswith("; more of this minute are suppressed")


async def test_pages_of_this_server_and_programs_without_origin_may_stream(client: Client) -> None:
    own = f"http://{client.host}:{client.port}"
    assert await stream_status(client, Origin=own) == (426, "upgrade_required")
    assert await stream_status(client) == (426, "upgrade_required")


async def test_a_foreign_host_name_is_refused_on_loopback_for_every_request(client: Client) -> None:
    for path in ("/", "/healthz", "/v1/stream", "/static/main.js"):
        refusal = await client.get(path, headers={"Host": "rebound.example"})
        assert (refusal.status, (await refusal.json())["code"]) == (403, "forbidden_host")


@pytest.mark.parametrize(
    "name", ["localhost:8000", "127.0.0.1", "[::1]:8000", "captions.example:80", "public.example", "PUBLIC.example:443"]
)
async def test_loopback_names_and_allowed_ones_are_answered(start_server: StartServer, name: str) -> None:
    client = await start_server(
        allowed_hosts=("captions.example",), public_url="https://public.example/hall", wait=False
    )
    assert (await client.get("/healthz", headers={"Host": name})).status == 200


OPEN = {"host": "0.0.0.0", "insecure": True}
"""Settings of a server that listens beyond loopback without a token."""


async def test_a_server_that_is_open_to_the_network_answers_to_no_name_of_another_site(
    start_server: StartServer,
) -> None:
    client = await start_server(**OPEN, wait=False)
    for name in (
        "rebound.example",
        "rebound.example:8000",
        "127.evil.example",
        "1.2.3.4.evil.example",
        "",
        "0x7f000001",
    ):
        for ask in (client.get("/v1/sessions", headers={"Host": name}), client.delete("/", headers={"Host": name})):
            refusal = await ask
            assert (refusal.status, (await refusal.json())["code"]) == (403, "forbidden_host")
            assert "--allowed-host" in (await refusal.json())["message"]


@pytest.mark.parametrize(
    "name",
    [
        *("192.0.2.7", "192.0.2.7:8000", "[2001:db8::7]:8000", "localhost:8000", "[::1]", "LOCALHOST"),
        *(socket.gethostname(), f"{socket.gethostname()}:8000", f"{socket.gethostname()}.local", socket.getfqdn()),
        *("captions.example", "Captions.Example:443"),
    ],
)
async def test_a_server_that_is_open_to_the_network_answers_to_addresses_and_names_of_its_own(
    start_server: StartServer, name: str
) -> None:
    client = await start_server(**OPEN, allowed_hosts=("Captions.example",), wait=False)
    await eventually(lambda: socket.getfqdn().lower() in client.app[OWN_NAMES].known)
    assert (await client.get("/healthz", headers={"Host": name})).status == 200


async def test_a_server_starts_and_answers_while_its_full_name_cannot_be_looked_up(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def getfqdn() -> str:
        assert answer.wait(20)
        return "Captions.example"

    monkeypatch.setattr(socket, "getfqdn", getfqdn)  # no test can make the network this slow
    try:
        async with asyncio.timeout(10):
            client = await start_server(**OPEN, wait=False)

        async def status(name: str) -> int:
            return (await client.get("/healthz", headers={"Host": name})).status

        assert [await status(name) for name in ("192.0.2.7", socket.gethostname())] == [200, 200]
        assert await status("captions.example") == 403
    finally:
        answer.set()
    await eventually(lambda: "captions.example" in client.app[OWN_NAMES].known)
    assert await status("captions.example") == 200


async def test_where_a_token_is_asked_for_any_name_is_answered_beyond_loopback(start_server: StartServer) -> None:
    client = await start_server(host="0.0.0.0", token=TOKEN, wait=False)
    for name in ("captions.example:8000", "a" * 253):
        assert (await client.get("/healthz", headers={"Host": name})).status == 200


@pytest.mark.parametrize("settings", [{}, OPEN, {"host": "0.0.0.0", "token": TOKEN}], ids=["loopback", "open", "token"])
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:abc", "127.0.0.1:99999", "evil@127.0.0.1", "[::1", "a b"),
        *("127.0.0.1/x", "127.0.0.1?", "[x]", "::1"),
        *("a" * 254, "a" * 3000, f"[{':' * 46}]"),
    ],
    ids=lambda host: host[:20],
)
async def test_a_host_header_that_names_no_host_is_refused(
    start_server: StartServer, settings: dict[str, Any], host: str
) -> None:
    client = await start_server(**settings, wait=False)
    refusal = await client.get("/healthz", headers={"Host": host})
    assert (refusal.status, (await refusal.json())["code"]) == (403, "forbidden_host")


@for_each(
    ("peer", "headers", "is_here"),
    [
        ("127.0.0.1", {"Host": "localhost:8000"}, True),
        ("127.0.0.1", {"Host": "127.0.0.1:8000"}, True),
        ("::1", {"Host": "[::1]:8000"}, True),
        ("::ffff:127.0.0.1", {"Host": "localhost"}, True),
        ("192.0.2.7", {"Host": "localhost:8000"}, False),
        ("::ffff:192.0.2.7", {"Host": "localhost"}, False),
        ("2001:db8::7", {"Host": "localhost"}, False),
        ("", {"Host": "localhost"}, False),  # a Unix socket, to which a proxy connects
        # Behind a reverse proxy on this machine, each client has the proxy's address.
        ("127.0.0.1", {"Host": "captions.example.org"}, False),
        ("127.0.0.1", {"Host": "192.0.2.2:8000"}, False),
        ("127.0.0.1", {}, False),
        *(
            ("127.0.0.1", {"Host": "localhost:8000", name: value}, False)
            for name, value in (
                ("X-Forwarded-For", "192.0.2.7"),
                ("X-Forwarded-For", "127.0.0.1"),
                ("x-forwarded-for", ""),
                ("Forwarded", "for=127.0.0.1"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "localhost"),
                ("X-Forwarded-Prefix", "/hall"),
                ("X-Forwarded-Port", "443"),
                ("x-forwarded-ssl", "on"),
                ("X-Real-IP", "127.0.0.1"),
                ("Via", "1.1 proxy"),
            )
        ),
    ],
)
def test_only_clients_that_are_certainly_on_this_machine_count_as_local(
    peer: str, headers: dict[str, str], is_here: bool
) -> None:
    assert auth.is_from_here(peer, CIMultiDict(headers)) is is_here


async def test_without_the_token_nobody_streams(start_server: StartServer) -> None:
    client = await start_server(token=TOKEN)
    for header in ("", "Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x"):
        assert await stream_status(client, Authorization=header) == (401, "unauthorized")
    with pytest.raises(WSServerHandshakeError) as refusal:
        await client.ws_connect("/v1/stream", protocols=("livecaption.v1", "token.%%%"))
    assert refusal.value.status == 401


async def test_the_token_opens_as_a_header(start_server: StartServer) -> None:
    client = await start_server(token=TOKEN)
    assert await stream_status(client, Authorization=f"Bearer {TOKEN}") == (426, "upgrade_required")


async def test_the_token_opens_as_a_subprotocol_which_is_not_sent_back_or_logged(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    client = await start_server(token=TOKEN)
    encoded = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    for offered in (("livecaption.v1", f"token.{encoded}"), (f"token.{encoded}",)):
        socket = await client.ws_connect("/v1/stream", protocols=offered)
        assert socket.protocol in ("livecaption.v1", None)
        await socket.send_json({"type": "start"})
        assert (await read_event(socket))["type"] == "ready"
        await socket.close()
    assert encoded not in caplog.text
    assert TOKEN not in caplog.text


async def test_the_page_and_the_health_checks_need_no_token(start_server: StartServer) -> None:
    client = await start_server(token=TOKEN)
    for path in ("/", "/healthz", "/readyz"):
        assert (await client.get(path)).status == 200
