"""Pages, health checks, and the headers of every response."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from livecaption.server.http import STATIC, static_directory
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from livecaption.workers.pool import PoolState
from tests.support.eventually import eventually
from tests.support.serving import Client, StartServer, read_event, start_stream


async def test_the_page_and_everything_it_loads_are_served(client: Client) -> None:
    page = await client.get("/")
    assert page.status == 200
    assert page.content_type == "text/html"
    script = await client.get("/static/main.js")
    assert script.status == 200
    assert script.content_type in ("text/javascript", "application/javascript")


async def test_every_answer_forbids_foreign_scripts_and_frames(client: Client) -> None:
    for path in ("/", "/static/main.js", "/healthz", "/nowhere"):
        headers = (await client.get(path)).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_pages_connect_to_their_own_server_only(client: Client) -> None:
    policy = (await client.get("/", headers={"Host": "localhost:8000"})).headers["Content-Security-Policy"]
    assert "connect-src 'self' ws://localhost:8000 wss://localhost:8000;" in policy
    for host in ("x; script-src *", "a,b", "*", ""):
        refused = await client.get("/", headers={"Host": host})
        assert (refused.status, "connect-src 'self';" in refused.headers["Content-Security-Policy"]) == (403, True)


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/sessions/one/transcript.vtt", "/v1/stats", "/healthz"])
async def test_answers_that_need_a_token_are_kept_by_no_cache(client: Client, path: str) -> None:
    for shown in ({"headers": {"Authorization": "Bearer x"}}, {"params": {"reader_token": "x"}}):
        assert (await client.get(path, **shown)).headers["Cache-Control"] == "private, no-store"
    assert (await client.get(path)).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("what", ["/v1/stream", "/v1/sessions/{}/events", "/v1/sessions/{}/watch"])
async def test_asking_for_the_headers_of_a_stream_is_refused_and_makes_no_reader(client: Client, what: str) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    session = (await read_event(socket))["session"]
    answer = await client.head(what.format(session))
    assert answer.status == 405
    assert client.app[SERVICES].sessions.n_readers == 0
    await socket.close()


@pytest.mark.parametrize("what", ["/v1/stream", "/v1/sessions/{}/events", "/v1/sessions/{}/watch"])
async def test_a_client_that_has_gone_before_its_stream_begins_is_no_fault(client: Client, what: str) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    session = (await read_event(socket))["session"]
    headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n"
    for _ in range(20):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(f"GET {what.format(session)} HTTP/1.1\r\nHost: localhost\r\n".encode())
        writer.write(headers.format("AAAAAAAAAAAAAAAAAAAAAA==").encode() + b"\r\n")
        writer.write_eof()
        await reader.read()
        writer.close()
    await eventually(lambda: client.app[SERVICES].sessions.n_readers == 0)
    await socket.close()


ROUTES = [
    *("/", "/v1/stream", "/watch/{}", "/v1/sessions/{}/events", "/v1/sessions/{}/watch", "/v1/sessions/{}/qr.svg"),
    *("/v1/info", "/sessions", "/v1/sessions", "/v1/sessions/{}", "/v1/sessions/{}/transcript.vtt", "/healthz"),
    *("/readyz", "/stats", "/v1/stats", "/metrics", "/static/main.js", "/static/"),
]
ODD_TEXTS = ["", "\xff", "http://[", "%", "1" * 5000, "-1", "\xed\xa0\x80", "x:y:z", ";=\"'"]
ODD_HEADERS = {
    "Host": [
        *ODD_TEXTS,
        "127.0.0.1:abc",
        "127.0.0.1:99999",
        "localhost:",
        "[fe80::1%25eth0]",
        "a@localhost",
        "[",
        "//",
    ],
    "Origin": [*ODD_TEXTS, "null", "http://[::1", "http://localhost:x"],
    "Range": [*ODD_TEXTS, "bytes=-", "bytes=-0", "bytes=5-2", "bytes=0-0,2-3", "bytes=-99999", f"bytes={'9' * 30}-"],
    "Last-Event-ID": [*ODD_TEXTS, "5e55-1", "-", "x-99999999999999999999"],
    "X-Forwarded-Proto": ODD_TEXTS,
    "X-Forwarded-For": ODD_TEXTS,
    "Authorization": [*ODD_TEXTS, "Bearer", "Bearer \xff", "Bearer \xed\xa0\x80"],
    "Sec-WebSocket-Protocol": [*ODD_TEXTS, "token.\xff", "token.=", "token.///", ",,,"],
    "If-Range": ODD_TEXTS,
    "If-None-Match": ODD_TEXTS,
    "If-Modified-Since": [*ODD_TEXTS, "Mon, 99 Foo 99999 99:99:99 GMT"],
    "Accept-Encoding": ODD_TEXTS,
    "Cookie": ODD_TEXTS,
    "Content-Length": ["-1", "x", "9" * 30],
    "Transfer-Encoding": ["x", "chunked, chunked"],
    "Expect": ["100-continue", "x"],
    "Upgrade": ["websocket", "websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x"],
}
ODD_QUERIES = [
    *("limit=%ff", "limit=%ed%a0%80", "before=\xff", "q=%00&limit=", "q=%ed%a0%80", "line_length=%", "&&&=", "a[]=1"),
    *(
        "reader_token=%ff",
        "reader_token=\xff",
        "resume=%ff",
        "resume=%00",
        "last_event_id=%ed%a0%80",
        "last_event_id=-",
        "page=%ff",
        "page=http://[",
    ),
]
ODD_NAMES = ["", "%00", "%ff", "%ed%a0%80", "..", "%2e%2e%2f", "a" * 4000, "a;b", "%0d%0a", "\xff", "[", "{x}"]


def odd_requests(session: str) -> Iterator[str]:
    """Yield unusual requests. Each character is a byte.

    Each route gets each header, with the next four of its values. All would be twice as many requests.
    """
    odd_headers = {name: cycle(values) for name, values in ODD_HEADERS.items()}
    for route in ROUTES:
        path = route.format(session)
        yield f"GET {path} HTTP/1.1\r\n\r\n"
        yield f"GET {path} HTTP/1.0\r\n\r\n"
        yield f"GET http://localhost:99999{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for method in ("GET", "HEAD", "DELETE", "OPTIONS", "M\xff", "CONNECT"):
            yield f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for name, values in odd_headers.items():
            own = "" if name == "Host" else "Host: localhost\r\n"
            for value in islice(values, 4):
                yield f"GET {path} HTTP/1.1\r\n{own}{name}: {value}\r\n\r\n"
        for query in ODD_QUERIES:
            yield f"GET {path}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for name in ODD_NAMES:
            yield f"GET {route.format(name)} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for name in ODD_NAMES:
        yield f"DELETE /v1/sessions/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for origin in ODD_HEADERS["Origin"]:
        yield f"DELETE /v1/sessions/{session} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"


async def test_no_request_however_odd_is_an_internal_error(start_server: StartServer, tmp_path: Path) -> None:
    """The fixture of these tests asserts that no traceback is logged."""
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    session = (await read_event(socket))["session"]

    async def status_of(request: str) -> int:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(request.encode("latin-1"))
        line = await reader.readline()
        # Read to the end, because a file that is not read completely is closed later, with a warning.
        head = await reader.readuntil(b"\r\n\r\n") if line else b""
        length = re.search(rb"Content-Length: (\d+)", head)
        if length and not request.startswith("HEAD"):
            await reader.readexactly(int(length[1]))
        writer.close()
        return int(line.split()[1]) if line else 0

    statuses = Counter([await status_of(request) for request in odd_requests(session)])
    # 503 is allowed: a stream that disconnects at once keeps its slot until the server notices.
    assert {status for status in statuses if status >= 500} <= {503}
    assert statuses[200] > 100
    await socket.close()


async def test_files_outside_static_are_not_served(client: Client) -> None:
    for path in ("/static/../setup.py", "/static/%2e%2e/setup.py", "/static/..%2fsetup.py", "/static/" + 3000 * "a"):
        assert (await client.get(path)).status in (403, 404)


async def test_a_server_that_loads_is_alive_but_not_ready(start_server: StartServer) -> None:
    client = await start_server("load 30", wait=False)
    assert (await client.get("/healthz")).status == 200
    ready = await client.get("/readyz")
    assert ready.status == 503
    assert (await ready.json())["state"] == "loading"
    assert int(ready.headers["Retry-After"]) >= 1
    stream = await client.get("/v1/stream")
    assert (stream.status, (await stream.json())["code"]) == (503, "loading")


async def test_a_server_that_is_ready_reports_so_and_what_it_runs(client: Client) -> None:
    assert (await client.get("/readyz")).status == 200
    info = await (await client.get("/v1/info")).json()
    assert info["protocol"] == 1
    assert info["model"]["name"]
    assert info["model"]["revision"] is None
    assert "en" in info["model"]["languages"]
    assert (info["public_url"], info["addresses"]) == (None, [])
    assert info["transcripts"] == {"kept": False, "keep_days": None}


@pytest.mark.parametrize(("keep_days", "shown"), [(7, 7), (0, None)])
async def test_a_server_reports_how_long_it_keeps_transcripts(
    start_server: StartServer, tmp_path: Path, keep_days: float, shown: float | None
) -> None:
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db"), keep_days), wait=False)
    info = await (await client.get("/v1/info")).json()
    assert info["transcripts"] == {"kept": True, "keep_days": shown}


async def test_a_full_server_is_not_ready_and_refuses_before_the_upgrade(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    socket = await start_stream(client)
    for path in ("/readyz", "/v1/stream"):
        refusal = await client.get(path)
        assert refusal.status == 503
        assert (await refusal.json())["code"] == "overloaded"
        assert "Retry-After" in refusal.headers
    await socket.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_refused(client: Client, method: str) -> None:
    assert (await client.request(method, "/v1/stream")).status == 405


async def test_a_server_whose_engine_cannot_start_is_alive_and_reports_failed(start_server: StartServer) -> None:
    client = await start_server("refuse", wait=False)
    assert await client.app[SERVICES].pool.wait_until_loaded() is PoolState.FAILED
    assert (await client.get("/healthz")).status == 200
    ready = await client.get("/readyz")
    assert (ready.status, (await ready.json())["state"]) == (503, "failed")


def test_the_pages_are_found_in_an_installed_package_and_in_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "livecaption"
    package.mkdir()
    assert static_directory(package) == tmp_path / "static"
    (package / "static").mkdir()
    assert static_directory(package) == package / "static"
    assert (STATIC / "index.html").is_file()
