"""The page of figures in a real browser, with a real server and an engine whose answers are known."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from livecaption.keys import Key, Role, as_toml, hash_of
from tests.browser.support import Launch, Profile, Serve, Server, assert_accessible, breaking_off, emptied, serving
from tests.support.speech import pcm_s16le, sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SCRIPTED = ("--engine", "scripted")
TOKEN = "säcret+/="
PUBLISHER = "lc_publisher"
SPEECH = pcm_s16le(sound("silence 200ms, speech 1000ms"))

OpenStats = Callable[[Server], Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def browser(launch: Launch) -> Browser:
    return await launch()


@pytest_asyncio.fixture(loop_scope="session")
async def open_stats(browser: Browser, profile: Profile) -> AsyncIterator[OpenStats]:
    """Open the page of a server. When the test ends, the browser's console must be clean. A violation of the content
    security policy would be in it."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # Browsers log every failed request and every answer above 399; the page reports them itself.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    async with emptied(await profile(browser)) as context:

        async def opened(server: Server) -> Page:
            page = await context.new_page()
            page.on("console", listen)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(f"{server.url}stats")
            return page

        yield opened
    assert complaints == []


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def used_server() -> AsyncIterator[Server]:
    """A server that has captioned something, for tests that leave it as it is."""
    async with serving(*SCRIPTED) as server:
        await caption(server)
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that asks for a token. One of its keys does not allow to see figures."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(as_toml(Key("Hall A", frozenset({Role.PUBLISH}), hash_of(PUBLISHER.encode()))))
    async with serving(*SCRIPTED, "--token", TOKEN, "--tokens", str(file)) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def unguarded(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A profile without the policy of pages that would keep axe out."""
    async with await browser.new_context(bypass_csp=True) as context:
        yield context


async def caption(server: Server) -> None:
    """One utterance with one partial and one final, to the end."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{server.url}v1/stream") as socket:
        await socket.send_json({"type": "start"})
        await socket.send_bytes(SPEECH)
        async for message in socket:
            if json.loads(message.data)["type"] == "partial":
                await socket.send_json({"type": "stop"})


def row(page: Page, table: str, heading: str) -> Locator:
    """A row of a table as a screen reader finds it: by the table's caption and the row's own heading."""
    header = page.get_by_role("rowheader", name=heading, exact=True)
    return page.get_by_role("table", name=table).get_by_role("row").filter(has=header)


def newest(page: Page, graph: str, line: str) -> Locator:
    """The newest value of one line of a graph."""
    return page.get_by_role("figure", name=graph).locator("dl div").filter(has_text=line).locator("dd")


async def test_the_page_follows_the_work_of_the_server(serve: Serve, open_stats: OpenStats) -> None:
    server = await serve(*SCRIPTED)
    page = await open_stats(server)
    await expect(page.get_by_role("status")).to_have_text("Ready")
    await expect(row(page, "Since the start", "Finals answered").get_by_role("cell")).to_have_text("0")
    await expect(row(page, "Delays of the last minute", "Word to partial caption")).to_contain_text("–")
    await expect(newest(page, "Open streams", "Open")).to_have_text("0")

    async with aiohttp.ClientSession() as http, http.ws_connect(f"{server.url}v1/stream"):
        await expect(newest(page, "Open streams", "Open")).to_have_text("1")
        await expect(row(page, "Now", "Open streams").get_by_role("cell")).to_have_text("1")
    await caption(server)

    figures = {
        "Streams accepted": "2",
        "Streams refused": "0",
        "Audio received": "1.2 s",
        "Batches": "2, with 1.0 requests on average",
        "Partials requested": "1",
        "Partials answered": "1",
        "Finals answered": "1",
        "Finals failed": "0",
    }
    for heading, figure in figures.items():
        await expect(row(page, "Since the start", heading).get_by_role("cell")).to_have_text(figure)
    await expect(row(page, "Now", "Open streams").get_by_role("cell")).to_have_text("0")
    await expect(row(page, "Now", "Limit of open streams").get_by_role("cell")).to_have_text(re.compile(r"^[\d,]+$"))
    reason = row(page, "Now", "Reason for the limit").get_by_role("cell")
    await expect(reason).to_have_text(re.compile("Measured cost|Free memory"))
    await expect(row(page, "Now", "Audio between two partials").get_by_role("cell")).to_have_text("500 ms")
    await expect(row(page, "Since the start", "Partials paused").get_by_role("cell")).to_have_text("0.0 ms")
    for delay in ("Start of speech to first caption", "Word to partial caption", "End of speech to final caption"):
        cells = row(page, "Delays of the last minute", delay).get_by_role("cell")
        await expect(cells).to_have_text([re.compile(r"\d m?s$"), re.compile(r"\d m?s$"), "1"])
    worker = page.get_by_role("table", name="Inference processes").get_by_role("row").nth(1).get_by_role("cell")
    await expect(worker).to_have_text(["Ready", "0", re.compile(r"\d MiB$"), "–"])


async def test_a_graph_grows_by_a_point_with_every_second(used_server: Server, open_stats: OpenStats) -> None:
    page = await open_stats(used_server)
    line = page.get_by_role("figure", name="Open streams").locator("path").first
    await expect(line).to_have_attribute("d", re.compile(r"^M[^L]+L[^L]+L[^L]+$"))
    await expect(line).to_have_attribute(
        "d", re.compile(r"L100.00 100.00$")
    )  # newest at the right, no stream at the foot


async def test_refusals_are_shown_with_their_reasons(serve: Serve, open_stats: OpenStats) -> None:
    server = await serve(*SCRIPTED, "--max-streams", "1")
    page = await open_stats(server)
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{server.url}v1/stream"):
        for _ in range(2):
            await (await http.get(f"{server.url}v1/stream")).release()
        refused = row(page, "Since the start", "Streams refused").get_by_role("cell")
        await expect(refused).to_have_text("2 overloaded")
        await expect(row(page, "Now", "Reason for the limit").get_by_role("cell")).to_have_text("Set by the operator")


async def test_the_token_is_asked_for_once_and_serves_the_captions_too(
    guarded_server: Server, open_stats: OpenStats
) -> None:
    page = await open_stats(guarded_server)
    dialog = page.get_by_role("dialog", name="This server requires an access token")
    again = page.get_by_role("button", name="Enter the token")
    for leave in ("Escape", "Cancel"):
        await expect(dialog).to_be_visible()
        await (page.keyboard.press(leave) if leave == "Escape" else dialog.get_by_role("button", name=leave).click())
        await expect(page.get_by_role("status")).to_have_text("Waiting for the access token")
        await again.click()
    await dialog.get_by_label("Access token").fill("wrong")
    await dialog.get_by_role("button", name="Show figures").click()
    await expect(dialog).to_contain_text("This token was not accepted.")
    await dialog.get_by_label("Access token").fill(PUBLISHER)
    await dialog.get_by_role("button", name="Show figures").click()
    refusal = "This token does not allow that. Enter one that does, or ask the operator of the server."
    await expect(dialog.get_by_label("Access token")).to_have_accessible_description(refusal)
    await dialog.get_by_label("Access token").fill(f" {TOKEN} ")  # as it is often copied
    await dialog.get_by_role("button", name="Show figures").click()
    await expect(page.get_by_role("status")).to_have_text("Ready")
    await expect(again).to_be_hidden()
    await page.reload()
    await expect(page.get_by_role("status")).to_have_text("Ready")
    assert await page.evaluate("sessionStorage.getItem('livecaption.token')") == TOKEN


async def test_a_token_in_the_address_is_used_and_taken_out_of_it(
    guarded_server: Server, open_stats: OpenStats
) -> None:
    page = await open_stats(guarded_server)
    await page.goto("about:blank")
    await page.goto(f"{guarded_server.url}stats#token={TOKEN}%20")
    await expect(page.get_by_role("status")).to_have_text("Ready")
    assert await page.evaluate("sessionStorage.getItem('livecaption.token')") == TOKEN
    assert page.url == f"{guarded_server.url}stats"


async def test_an_answer_that_breaks_off_is_reported_and_the_next_one_is_shown(
    used_server: Server, open_stats: OpenStats
) -> None:
    page = await open_stats(used_server)
    await expect(page.get_by_role("status")).to_have_text("Ready")
    async with breaking_off() as broken:
        await page.route("**/v1/stats", lambda route: route.continue_(url=broken))
        await expect(page.get_by_role("status")).to_have_text("The server does not answer; trying again")
        await page.unroute_all()
    await expect(page.get_by_role("status")).to_have_text("Ready")


async def test_a_server_that_goes_is_reported_and_one_that_comes_is_watched_again(
    serve: Serve, open_stats: OpenStats
) -> None:
    server = await serve(*SCRIPTED)
    await caption(server)
    page = await open_stats(server)
    await expect(row(page, "Since the start", "Finals answered").get_by_role("cell")).to_have_text("1")
    server.terminate()
    await server.process.wait()
    await expect(page.get_by_role("status")).to_have_text("The server does not answer; trying again")
    await expect(row(page, "Since the start", "Finals answered").get_by_role("cell")).to_have_text("1")
    await serve(*SCRIPTED, "--port", server.port)
    await expect(page.get_by_role("status")).to_have_text("Ready")
    await expect(row(page, "Since the start", "Finals answered").get_by_role("cell")).to_have_text("0")


async def test_the_page_has_the_theme_that_was_chosen_for_the_captions(
    used_server: Server, open_stats: OpenStats
) -> None:
    page = await open_stats(used_server)
    await page.evaluate("localStorage.setItem('livecaption.settings', JSON.stringify({ theme: 'dark' }))")
    await page.reload()
    await expect(page.locator("body")).to_have_css("background-color", "rgb(13, 18, 20)")


async def test_the_page_breaks_no_rule_of_accessibility(serve: Serve, unguarded: BrowserContext) -> None:
    server = await serve(*SCRIPTED)
    await caption(server)
    page = await unguarded.new_page()
    await page.goto(f"{server.url}stats")
    await expect(row(page, "Since the start", "Finals answered")).to_contain_text("1")
    await assert_accessible(page)
    server.terminate()
    await expect(page.get_by_role("status")).to_contain_text("trying again")
    await assert_accessible(page)


async def test_the_question_for_the_token_breaks_no_rule_of_accessibility(
    guarded_server: Server, unguarded: BrowserContext
) -> None:
    page = await unguarded.new_page()
    await page.goto(f"{guarded_server.url}stats")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await assert_accessible(page, ["light"])
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Enter the token")).to_be_visible()
    await assert_accessible(page, ["light"])


async def test_nothing_is_cut_off_in_a_window_of_320_pixels(used_server: Server, open_stats: OpenStats) -> None:
    """WCAG 1.4.10: the width of a desktop at 400 % zoom."""
    await caption(used_server)
    page = await open_stats(used_server)
    await expect(row(page, "Delays of the last minute", "Word to partial caption")).to_contain_text("ms")
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def test_screen_readers_do_not_announce_every_second(used_server: Server, open_stats: OpenStats) -> None:
    """Only the server's state is announced, and only when it changes; the drawings are for the eye."""
    page = await open_stats(used_server)
    await expect(page.get_by_role("status")).to_have_text("Ready")
    await expect(page.locator("[role=status], [role=alert], [role=log], [aria-live]")).to_have_count(1)
    n_announced = await page.evaluate(
        """() => new Promise((resolve) => {
          let n = 0;
          new MutationObserver((records) => (n += records.length))
            .observe(document.querySelector('[role=status]'), { childList: true, characterData: true, subtree: true });
          const line = document.querySelector('figure svg path');
          let n_updates = 0;
          new MutationObserver(() => (n_updates += 1) === 3 && resolve(n))
            .observe(line, { attributeFilter: ['d'] });
        })"""
    )
    assert n_announced == 0
    await expect(page.get_by_role("figure", name="Open streams").locator("svg")).to_have_attribute(
        "aria-hidden", "true"
    )
