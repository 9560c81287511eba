"""The pages behind a real nginx, and in pages of other sites."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.reading import shared_link, speaking
from tests.browser.support import Profile, Serve, Server, emptied
from tests.support.proxies import PATH_NAME, example, free_ports, nginx, require

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SERVERS = """
server {{
    listen 127.0.0.1:{without_host};
    location / {{
        proxy_pass {url};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
}}
server {{
    listen 127.0.0.1:{without_upgrade};
    location / {{
        proxy_pass {url};
        proxy_set_header Host $http_host;
    }}
}}
server {{
    listen 127.0.0.1:{other_site};
    default_type text/html;
    return 200 "<!doctype html><title>Another site</title>";
}}
"""

REACHED = """
server {{
    listen 127.0.0.1:{port};
    error_page 502 ={status} @away;
    location / {{
        proxy_pass {url};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
    location @away {{
        return {status};
    }}
}}
"""
"""A proxy that answers with this status while it does not reach the server."""


@dataclass(frozen=True)
class Addresses:
    """The page behind nginx: as tutorials have it, without the headers for WebSockets, and below a path.

    `other_site` has another page.
    """

    without_host: str
    without_upgrade: str
    other_site: str
    below_a_path: str


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def behind(scripted_server: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Addresses]:
    require("nginx")
    ports = free_ports(4)
    path = example(
        "nginx-path.conf",
        {
            "    listen [::]:443 ssl;\n": "",
            "listen 443 ssl": f"listen 127.0.0.1:{ports[3]}",
            f"    ssl_certificate /etc/ssl/{PATH_NAME}/fullchain.pem;\n": "",
            f"    ssl_certificate_key /etc/ssl/{PATH_NAME}/privkey.pem;\n": "",
            f"server_name {PATH_NAME}": "server_name localhost",
            "http://127.0.0.1:8000/": scripted_server.url,
        },
    )
    upstream = {"url": scripted_server.url.rstrip("/")}
    servers = SERVERS.format(without_host=ports[0], without_upgrade=ports[1], other_site=ports[2], **upstream)
    async with nginx(tmp_path_factory.mktemp("nginx"), servers + path, ports):
        roots = [f"http://localhost:{port}/" for port in ports]
        yield Addresses(roots[0], roots[1], roots[2], f"{roots[3]}captions/")


@pytest_asyncio.fixture(loop_scope="session")
async def context(speaking_browser: Browser, profile: Profile) -> AsyncIterator[BrowserContext]:
    async with emptied(await profile(speaking_browser)) as context:
        yield context


async def started(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url)
    await page.get_by_role("button", name="Start captions").click()
    return page


async def test_a_page_whose_origin_is_refused_names_the_option_that_allows_it(
    behind: Addresses, context: BrowserContext
) -> None:
    page = await started(context, behind.without_host)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("The server does not accept pages from this address")
    await expect(alert).to_contain_text(f"--public-url {behind.without_host}")
    await expect(alert).to_contain_text(f"--allowed-origin {behind.without_host.rstrip('/')}")


async def test_a_page_shows_that_a_proxy_passes_no_websockets(behind: Addresses, context: BrowserContext) -> None:
    page = await started(context, behind.without_upgrade)
    await expect(page.get_by_role("alert")).to_contain_text("No WebSocket could be opened. A reverse proxy")


async def test_an_answer_that_is_the_proxys_own_is_no_refusal_of_the_server(module_page: Page) -> None:
    """A proxy that limits requests answers 429 when all pages come back at once after a restart."""
    codes = await module_page.evaluate(
        """async () => {
          const { refusalCode } = await import("/words.js");
          return [[429, undefined], [502, undefined], [429, "too_many_attempts"], [404, undefined]].map((answer) =>
            refusalCode(...answer));
        }"""
    )
    assert codes == ["unreachable", "unreachable", "too_many_attempts", "http_404"]


async def test_below_a_path_of_another_site_people_speak_share_and_read(
    behind: Addresses, context: BrowserContext
) -> None:
    page = await started(context, behind.below_a_path)
    await expect(page.locator("#transcript")).to_contain_text(re.compile(r"\w"))
    link = await shared_link(page)
    assert link.startswith(f"{behind.below_a_path}watch/")
    reader = await context.new_page()
    await reader.goto(link)
    await expect(reader.locator("#transcript, #roll-up").first).to_contain_text(re.compile(r"\w"))
    for name in ("Transcripts", "Status"):
        await page.goto(behind.below_a_path)
        await page.get_by_role("link", name=name).first.click()
        await expect(page).to_have_url(re.compile(rf"^{re.escape(behind.below_a_path)}s"))


async def test_pages_of_allowed_origins_use_the_api_and_embed_the_readers_page(
    behind: Addresses, serve: Serve, context: BrowserContext
) -> None:
    origin = behind.other_site.rstrip("/")
    server = await serve("--engine", "scripted", "--allowed-origin", origin, "--allowed-frame", origin)
    page = await context.new_page()
    await page.goto(behind.other_site)
    async with speaking(server) as publisher:
        session = publisher.ready.session
        info = await page.evaluate(
            """async (url) => (await fetch(url, { headers: { Authorization: "Bearer none-is-needed" } })).json()""",
            f"{server.url}v1/info",
        )
        assert info["state"] == "ready"
        await page.evaluate(
            """(url) => {
              window.received = [];
              new EventSource(url).addEventListener("final", ({ data }) => received.push(JSON.parse(data).text));
            }""",
            f"{server.url}v1/sessions/{session}/events",
        )
        for name, address in (("readers", f"watch/{session}"), ("transcripts", "sessions")):
            await page.evaluate(
                "([name, src]) => document.body.append(Object.assign(document.createElement('iframe'), { name, src }))",
                [name, f"{server.url}{address}"],
            )
        said = await publisher.say()
        await page.wait_for_function("received.length > 0")
        assert await page.evaluate("received") == [said]
        frame = page.frame_locator("iframe[name=readers]")
        await expect(frame.locator("body")).to_contain_text(said.rstrip("."), ignore_case=True)
        assert page.frame("transcripts").url.startswith("chrome-error:")


async def test_pages_behind_a_proxy_go_on_by_themselves_after_a_restart_of_the_server(
    serve: Serve, context: BrowserContext, tmp_path: Path, unused_tcp_port: int
) -> None:
    """While the server is away, nginx answers 502 to the speaker, and to the reader 503, as HAProxy does."""
    require("nginx")
    flags = ("--engine", "scripted", "--resume-window", "1", "--store", str(tmp_path / "transcripts.db"))
    flags += ("--port", str(unused_tcp_port))
    server = await serve(*flags)
    ports = free_ports(2)
    servers = "".join(
        REACHED.format(port=port, url=server.url.rstrip("/"), status=status)
        for port, status in zip(ports, (502, 503), strict=True)
    )
    speakers, readers = (f"http://localhost:{port}/" for port in ports)
    async with nginx(tmp_path, servers, ports):
        page = await started(context, speakers)
        lines = page.locator("#transcript p span")
        await expect(lines).not_to_have_count(0)
        link = await shared_link(page)
        await page.get_by_role("button", name="Done").click()
        reader = await context.new_page()
        await reader.goto(link.replace(speakers, readers))
        await expect(reader.locator("#state")).to_contain_text("Live")

        async with (
            page.expect_response(lambda answer: answer.status == 502 and "/v1/stream" in answer.url),
            reader.expect_response(lambda answer: answer.status == 503 and answer.url.endswith("/events")),
        ):
            server.process.kill()
        await expect(reader.locator("#state")).to_contain_text("Reconnecting")
        await serve(*flags)
        n_lines = await lines.count()
        await expect(page.locator("#state")).to_have_text("Live")
        await expect(lines).not_to_have_count(n_lines)
        await expect(reader.locator("#state")).to_contain_text("Live")
