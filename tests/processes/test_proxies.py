"""The examples of packaging/proxies in front of a server, with the real nginx, HAProxy and Caddy.

The three proxies run at the same time, each with its example for the root of a name and that for a path, and all in
front of one server. That server has no public address, so its links begin with what the proxies send.
"""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from livecaption.client import Reconnected, connect, watch
from livecaption.events import End
from tests.browser.support import drawn
from tests.support.eventually import eventually
from tests.support.processes import ServerProcess, serving
from tests.support.proxies import (
    CLIENT,
    PATH_NAME,
    ROOT_NAME,
    browsing,
    caddy,
    certificate_for,
    example,
    free_ports,
    haproxy,
    nginx,
    require,
)
from tests.support.speech import pcm_s16le, sound

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

TOKEN = "a-long-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SUBPROTOCOLS = ("livecaption.v1", "token.YS1sb25nLXRva2Vu")
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))
TIMEOUT_S = 30.0

TUTORIAL = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://{upstream};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
}}
"""
"""A server as in tutorials: without Host, so that nginx sends the address of `proxy_pass`."""
KEEPING_HOST = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://{upstream};
        proxy_set_header Host $http_host;
    }}
}}
"""
"""A server that passes on the Host that the client has chosen, and sets no header of its own, as HAProxy by default."""


PLACES = {"root": (ROOT_NAME, "/"), "path": (PATH_NAME, "/captions/")}
"""The places of the examples: name and path of the publisher's page."""


@dataclass(frozen=True)
class Behind:
    """The server, and the addresses of its page behind each proxy."""

    server: ServerProcess
    pages: dict[str, str]


def sites(names: dict[str, str], changes: Callable[[str, str, int], dict[str, str]]) -> tuple[str, dict[str, int]]:
    """Return the examples of one proxy in one text, each on a port of its own, and the ports by place.

    Args:
        names: the file for each place.
        changes: take place, name and port, and return the changes to the example.
    """
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    texts = [example(names[place], changes(place, PLACES[place][0], port)) for place, port in ports.items()]
    return "".join(texts), ports


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    require("nginx", "haproxy", "caddy")
    directory = tmp_path_factory.mktemp("proxies")
    pem = certificate_for(directory)
    [of_redirects] = free_ports(1)
    flags = [
        *("--trusted-proxy", "127.0.0.1", "--store", str(directory / "transcripts.db")),
        *("--allowed-host", ROOT_NAME, "--allowed-host", PATH_NAME),
    ]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(*flags, environment={"LIVECAPTION_TOKEN": TOKEN}))
        upstream = {"127.0.0.1:8000": (await server.ready()).removeprefix("http://").rstrip("/")}

        def for_nginx(place: str, name: str, port: int) -> dict[str, str]:
            plain = {"    listen [::]:80;\n": "", "listen 80": f"listen 127.0.0.1:{of_redirects}"}
            files = {f"/etc/ssl/{name}/{file}.pem": str(pem) for file in ("fullchain", "privkey")}
            listen = {"    listen [::]:443 ssl;\n": "", "listen 443 ssl": f"listen 127.0.0.1:{port} ssl"}
            return upstream | listen | files | (plain if place == "root" else {})

        def for_haproxy(place: str, name: str, port: int) -> dict[str, str]:
            plain = {"    bind :80\n": ""}
            listen = {f":443 ssl crt /etc/haproxy/certs/{name}.pem": f"127.0.0.1:{port} ssl crt {pem}"}
            return upstream | listen | (plain if place == "root" else {})

        def for_caddy(place: str, name: str, port: int) -> dict[str, str]:
            return upstream | {f"\n{name} {{": f"\nhttps://{name}:{port} {{\n\tbind 127.0.0.1\n\ttls {pem} {pem}"}

        pages = {}
        for run, names, changes in (
            (nginx, {"root": "nginx.conf", "path": "nginx-path.conf"}, for_nginx),
            (haproxy, {"root": "haproxy.cfg", "path": "haproxy-path.cfg"}, for_haproxy),
            (caddy, {"root": "Caddyfile", "path": "Caddyfile-path"}, for_caddy),
        ):
            text, ports = sites(names, changes)
            await stack.enter_async_context(run(directory, text, list(ports.values())))
            for place, port in ports.items():
                name, path = PLACES[place]
                pages[f"{run.__name__}-{place}"] = f"https://{name}:{port}{path}"
        yield Behind(server, pages)


@pytest.fixture(params=["nginx-root", "nginx-path", "haproxy-root", "haproxy-path", "caddy-root", "caddy-path"])
def page(behind: Behind, request: pytest.FixtureRequest) -> str:
    """The address of the publisher's page behind one of the proxies."""
    return behind.pages[request.param]


def origin(page: str) -> str:
    return "/".join(page.split("/")[:3])


async def event(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    while (received := json.loads(await socket.receive_str(timeout=TIMEOUT_S)))["type"] != kind:
        pass
    return received


async def server_sent(events: aiohttp.ClientResponse, kind: str) -> dict[str, Any]:
    """Return the next event of this type, which must come while the response is open."""
    async with asyncio.timeout(TIMEOUT_S):
        async for line in events.content:
            if line.startswith(b"data: ") and (received := json.loads(line[6:]))["type"] == kind:
                return received
    pytest.fail(f"the events ended without {kind}")


async def text_of(http: ClientSession, url: str, **headers: str) -> str:
    async with http.get(url, headers=headers) as answer:
        assert answer.status == 200, (url, await answer.text())
        return await answer.text()


async def test_pages_streams_and_transcripts_work_behind_each_proxy(page: str) -> None:
    invented = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "http"}
    async with browsing(Origin=origin(page), **invented) as http:
        for name, directory in (
            ("", "static"),
            ("sessions", "static"),
            ("stats", "static"),
            ("watch/hall", "../static"),
        ):
            html = await text_of(http, page + name)
            module = re.search(rf'<script type="module" src="({re.escape(directory)}/[\w-]+\.js)">', html)
            base = page if directory == "static" else f"{page}watch/"
            script = await text_of(http, base + module[1])
            imported = re.findall(r'from "\./([\w-]+\.js)"', script)
            assert imported
            await text_of(http, f"{page}static/{imported[0]}")
        # A person who leaves out or adds a slash arrives all the same.
        async with http.get(page.rstrip("/") + "?lang=de") as answer:
            assert (answer.status, str(answer.url)) == (200, f"{page}?lang=de")
        async with http.get(page.rstrip("/")) as answer:
            assert (answer.status, str(answer.url).rstrip("?/")) == (200, page.rstrip("/"))
        assert "<html" in await text_of(http, f"{page}watch/hall/")

        async with http.ws_connect(f"{page}v1/stream?page={page}", protocols=SUBPROTOCOLS) as publisher:
            await publisher.send_json({"type": "start", "title": "Behind a proxy"})
            session = (await event(publisher, "ready"))["session"]
            link = drawn(f"{page}watch/{session}")
            assert (await text_of(http, f"{page}v1/sessions/{session}/qr.svg")).encode() == link
            async with (
                http.get(f"{page}v1/sessions/{session}/events") as events,
                http.ws_connect(f"{page}v1/sessions/{session}/watch") as reader,
            ):
                await server_sent(events, "snapshot")
                await event(reader, "snapshot")
                await publisher.send_bytes(SPEECH)
                final = await event(publisher, "final")
                assert final["text"]
                assert (await server_sent(events, "final"))["text"] == final["text"]
                assert (await event(reader, "final"))["text"] == final["text"]
                await publisher.send_json({"type": "stop"})
                await event(publisher, "end")

        listed = json.loads(await text_of(http, f"{page}v1/sessions", **BEARER))
        assert session in [entry["id"] for entry in listed["sessions"]]
        assert final["text"] in await text_of(http, f"{page}v1/sessions/{session}/transcript.txt")
        room = {"secret": "the secret of a room", "title": "Hall"}
        async with http.put(f"{page}v1/rooms/hall", json=room, headers=BEARER) as answer:
            assert (answer.status, (await answer.json())["title"]) == (200, "Hall")
        assert (await text_of(http, f"{page}v1/rooms/hall/qr.svg")).encode() == drawn(f"{page}watch/hall")


async def test_the_log_has_the_address_of_the_client_and_not_what_it_invents(page: str, behind: Behind) -> None:
    port = re.search(r":(\d+)/", page)[1]
    # Three refusals of a code are logged in a minute.
    code, headers = (
        ("forbidden_origin", {"Origin": "https://evil.example"}) if page.endswith("captions/") else ("unauthorized", {})
    )
    invented = {"X-Forwarded-For": "127.0.0.1", "X-Request-Id": "invented"}
    async with browsing(**headers, **invented) as http, http.get(f"{page}v1/stream") as answer:
        assert (await answer.json())["code"] == code
        assert answer.headers["X-Request-Id"] != "invented"
    line = await behind.server.logged(rf"refused: {code} for GET /v1/stream, from (\S+) with host '.*:{port}'")
    assert line[1] == CLIENT
    assert TOKEN not in behind.server.output


async def test_a_proxy_as_in_tutorials_needs_the_public_address_only(tmp_path: Path) -> None:
    require("nginx")
    port, keeping = free_ports(2)
    public = f"http://{ROOT_NAME}:{port}"
    async with serving("--public-url", public) as server:
        upstream = (await server.ready()).removeprefix("http://").rstrip("/")
        servers = TUTORIAL.format(port=port, upstream=upstream) + KEEPING_HOST.format(port=keeping, upstream=upstream)
        async with nginx(tmp_path, servers, [port, keeping]):
            async with browsing(Origin=public) as http, http.ws_connect(f"{public}/v1/stream?page={public}/") as socket:
                await socket.send_json({"type": "start"})
                session = (await event(socket, "ready"))["session"]
                code = await text_of(http, f"{public}/v1/sessions/{session}/qr.svg?page={public}/")
                assert code.encode() == drawn(f"{public}/watch/{session}")
            # Without a token, nobody behind it is on the server's machine, also if the client chooses Host.
            async with browsing() as http:
                for url, host in (
                    (f"{public}/v1/sessions", ROOT_NAME),
                    (f"http://{ROOT_NAME}:{keeping}/v1/sessions", "localhost"),
                ):
                    for method, path in (("GET", ""), ("DELETE", "/one")):
                        async with http.request(method, url + path, headers={"Host": host}) as answer:
                            assert (answer.status, (await answer.json())["code"]) == (403, "local_only")
            async with browsing(Origin="http://evil.example") as http:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                    await http.ws_connect(f"{public}/v1/stream")
                assert refusal.value.status == 403
        await server.logged(
            r"refused: forbidden_origin for GET /v1/stream, from 127\.0\.0\.1 .* 'http://evil\.example'"
        )


async def test_nginx_in_front_of_a_unix_socket_passes_on_who_the_client_is(tmp_path: Path) -> None:
    require("nginx")
    [port] = free_ports(1)
    path = tmp_path / "livecaption"
    page = f"https://{ROOT_NAME}:{port}/"
    pem = certificate_for(tmp_path)
    [redirecting] = free_ports(1)
    changes = {
        "http://127.0.0.1:8000": f"http://unix:{path}:",
        "    listen [::]:80;\n": "",
        "listen 80": f"listen 127.0.0.1:{redirecting}",
        "    listen [::]:443 ssl;\n": "",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
    } | {f"/etc/ssl/{ROOT_NAME}/{file}.pem": str(pem) for file in ("fullchain", "privkey")}
    flags = ("--host", f"unix:{path}", "--trusted-proxy", "unix:", "--allowed-host", ROOT_NAME)
    async with serving(*flags) as server:
        assert await server.ready() == f"unix:{path}"
        async with (
            nginx(tmp_path, example("nginx.conf", changes), [port]),
            browsing(Origin=page.rstrip("/")) as http,
        ):
            assert "<html" in await text_of(http, page)
            async with http.ws_connect(f"{page}v1/stream?page={page}") as socket:
                await socket.send_json({"type": "start"})
                session = (await event(socket, "ready"))["session"]
                code = await text_of(http, f"{page}v1/sessions/{session}/qr.svg")
                assert code.encode() == drawn(f"{page}watch/{session}")
            async with http.get(f"{page}v1/sessions") as answer:
                assert (answer.status, (await answer.json())["code"]) == (403, "local_only")
        await server.logged(rf"refused: local_only for GET /v1/sessions, from {re.escape(CLIENT)} ")
        server.process.terminate()
        assert await server.exited(within_s=5) == 0
        assert not path.exists()


async def test_clients_behind_a_proxy_go_on_after_a_restart_of_the_server(tmp_path: Path, unused_tcp_port: int) -> None:
    """A publisher and a reader, to whom nginx answers 502 meanwhile. A new publisher waits for the server."""
    require("nginx")
    [port] = free_ports(1)
    url = f"http://localhost:{port}"
    flags = ("--port", str(unused_tcp_port), "--store", str(tmp_path / "transcripts.db"), "--public-url", url)
    text = TUTORIAL.format(port=port, upstream=f"127.0.0.1:{unused_tcp_port}")
    refusals: list[str] = []
    async with nginx(tmp_path, text, [port]), AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(*flags))
        await server.ready()
        stream = await stack.enter_async_context(connect(url))
        await stream.send_audio(SPEECH)
        reader = await stack.enter_async_context(watch(url, stream.ready.session))
        server.send(signal.SIGKILL)
        await server.exited(within_s=5)
        restarted = [asyncio.ensure_future(until(Reconnected, events)) for events in (stream, reader)]
        opening = connect(url, wait_s=TIMEOUT_S, waiting=lambda refusal: refusals.append(str(refusal)))
        entering = asyncio.ensure_future(stack.enter_async_context(opening))
        await eventually(lambda: refusals)
        await (await stack.enter_async_context(serving(*flags))).ready()
        await asyncio.gather(*restarted, entering)
        await stream.stop()
        await asyncio.gather(until(End, stream), until(End, reader))
    assert refusals[0] == f"cannot reach {url}/v1/stream: a proxy answered 502"


async def until(kind: type, events: AsyncIterator[Any]) -> None:
    """Read events until one of this type."""
    async with asyncio.timeout(TIMEOUT_S):
        async for received in events:
            if isinstance(received, kind):
                return
    pytest.fail(f"the events ended without {kind}")


async def test_without_a_proxy_its_tests_are_skipped_and_fail_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for ci, outcome in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="apt-get install nginx haproxy caddy"):
            require("nginx", "no-such-program")
