"""The page of transcripts in a real browser, with a real server that stores some."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Route, expect

from livecaption.client import StreamSettings, connect
from livecaption.store import rows
from livecaption.store.rows import RoomRecord
from tests.browser.support import Launch, Serve, Server, assert_accessible, breaking_off, emptied, serving
from tests.support.receivers import receiving
from tests.support.speech import pcm_s16le, sound
from tests.support.stored import fill, new_session, opened
from tests.support.transcripts import final

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

COUNCIL = [
    final("The tram & the bus are late, and nobody knows why they are.", 0, 4000, 0),
    final("Shall we go on <em>foot</em>?", 65_000, 67_000, 1),
]

ServeStored = Callable[..., Awaitable[Server]]
OpenSessions = Callable[[Server], Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def browser(launch: Launch) -> Browser:
    return await launch()


def filled(path: Path) -> Path:
    """Make a store with a lecture without a title, and a newer council."""
    with opened(path) as database:
        fill(database, new_session("lecture"), [final("Nothing of interest.")])
        fill(database, new_session("council", "City council"), COUNCIL)
    return path


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stored(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with the two transcripts, for tests that leave it as it is."""
    path = filled(tmp_path_factory.mktemp("stored") / "transcripts.db")
    async with serving("--engine", "scripted", "--store", str(path), "--keep-days", "0") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def many(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with talks, the two parts of a room, that of a room without a title, and an empty session."""
    path = tmp_path_factory.mktemp("many") / "transcripts.db"
    with opened(path) as database:
        for n in range(20):
            fill(database, new_session(str(n), f"Talk {n}"), [final("And so on.", 60_000 * k, 0, k) for k in range(9)])
        database.write(rows.put_room(RoomRecord("pycon", "PyCon", "hash", None, 0), 10, 0))
        for title in ("Morning", "Afternoon"):
            fill(database, new_session(title, title, room="pycon"), [final("And so on.")])
        database.write(rows.put_room(RoomRecord("hall", "", "hash", None, 0), 10, 0))
        fill(database, new_session("hall", "", room="hall"), [final("And so on.")])
        fill(database, new_session("test", "Microphone test"), [])
    async with serving("--engine", "scripted", "--store", str(path), "--keep-days", "0") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def serve_stored(serve: Serve, tmp_path: Path) -> ServeStored:
    """Start a server of the test's own with the two transcripts, and with more flags."""
    path = filled(tmp_path / "transcripts.db")

    async def start(*flags: str) -> Server:
        return await serve("--engine", "scripted", "--store", str(path), "--keep-days", "0", *flags)

    return start


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def utc_profile(browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await browser.new_context(timezone_id="UTC") as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def open_sessions(utc_profile: BrowserContext) -> AsyncIterator[OpenSessions]:
    """Open the page of a server; when the test ends, the browser's console must be clean."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    async with emptied(utc_profile) as context:

        async def opened_page(server: Server) -> Page:
            page = await context.new_page()
            page.on("console", listen)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(f"{server.url}sessions")
            return page

        yield opened_page
    assert complaints == []


def state(page: Page) -> Locator:
    return page.get_by_role("status")


def entries(page: Page) -> Locator:
    return page.get_by_role("region", name="Transcripts").get_by_role("listitem")


def captions(page: Page) -> Locator:
    return page.locator("#captions").get_by_role("listitem")


async def search(page: Page, words: str) -> None:
    await page.get_by_role("searchbox").fill(words)
    await page.get_by_role("button", name="Search").click()


async def test_transcripts_are_listed_and_opened(stored: Server, open_sessions: OpenSessions) -> None:
    page = await open_sessions(stored)
    await expect(state(page)).to_have_text("2 transcripts")
    await expect(entries(page)).to_contain_text(
        ["City council", re.compile(r"Monday, February 2, 2026.*0:04 · 1 caption · en")]
    )
    await page.get_by_role("button", name="City council").click()
    await expect(page.get_by_role("heading", name="City council")).to_be_focused()
    await expect(captions(page)).to_have_text(
        ["0:00The tram & the bus are late, and nobody knows why they are.", "1:05Shall we go on <em>foot</em>?"]
    )
    await expect(page.get_by_role("button", name="City council")).to_have_attribute("aria-current", "true")


async def test_a_transcript_of_several_channels_names_each(
    serve: Serve, tmp_path: Path, open_sessions: OpenSessions
) -> None:
    path = tmp_path / "calls.db"
    with opened(path) as database:
        finals = [final("Fine.", 1500, 3000, 1, channel=1), final("How are you?", 0, 2000, 0, channel=0)]
        fill(database, new_session("call", "A call"), finals)
    page = await open_sessions(await serve("--engine", "scripted", "--store", str(path), "--keep-days", "0"))
    await page.get_by_role("button", name="A call").click()
    await expect(captions(page)).to_have_text(["0:00Channel 1How are you?", "0:01Channel 2Fine."])


async def test_a_search_shows_what_was_found(stored: Server, open_sessions: OpenSessions) -> None:
    page = await open_sessions(stored)
    await search(page, "tram foot")
    await expect(state(page)).to_have_text("1 transcript found")
    await expect(entries(page)).to_have_count(1)
    await expect(entries(page).locator("mark")).to_have_text(["tram", "foot"])
    await search(page, "zebra")
    await expect(state(page)).to_have_text("No transcripts found")
    await search(page, "")
    await expect(entries(page)).to_have_count(2)


async def test_only_the_answer_to_the_newest_request_is_shown(stored: Server, open_sessions: OpenSessions) -> None:
    page = await open_sessions(stored)
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route("**/lecture/transcript.json*", held.put)
    await entries(page).nth(1).get_by_role("button").click()
    lecture = await held.get()
    await page.get_by_role("button", name="City council").click()
    await expect(captions(page)).to_have_count(2)
    await lecture.fulfill(json={"captions": []})

    await page.route("**/v1/sessions?q=*", held.put)
    await search(page, "zebra")
    zebra = await held.get()
    await search(page, "tram")
    await (await held.get()).continue_()
    await expect(state(page)).to_have_text("1 transcript found")
    await expect(captions(page)).to_have_count(2)
    await zebra.abort()
    async with page.expect_download():
        await page.get_by_role("link", name="SRT").click()
    await expect(state(page)).to_have_text("1 transcript found")


async def test_a_change_of_one_transcript_leaves_another_that_is_opened_meanwhile(
    stored: Server, open_sessions: OpenSessions
) -> None:
    """The answers are made up, so that the server's transcripts stay as they are."""
    page = await open_sessions(stored)
    council = await (await page.request.get(f"{stored.url}v1/sessions/council")).json()
    held: asyncio.Queue[Route] = asyncio.Queue()
    lecture = entries(page).nth(1).get_by_role("button")
    heading = page.locator("#opened-title")
    await page.get_by_role("button", name="City council").click()
    await page.get_by_role("button", name="Rename").click()
    await page.route("**/v1/sessions/council", held.put)
    await page.keyboard.press("Enter")
    renamed = await held.get()
    await lecture.click()
    await expect(captions(page)).to_have_count(1)
    await renamed.fulfill(json=council | {"title": "Trams"})
    await expect(page.get_by_role("button", name="Trams")).to_be_visible()
    await expect(heading).to_contain_text("Monday")

    await page.unroute_all()
    await page.get_by_role("button", name="Trams").click()
    await expect(heading).to_have_text("City council")
    await page.get_by_role("button", name="Delete", exact=True).click()
    await page.route("**/v1/sessions/council", held.put)
    await page.get_by_role("button", name="Delete permanently").click()
    deleted = await held.get()
    await lecture.click()
    await expect(captions(page)).to_have_count(1)
    await deleted.fulfill(status=204)
    await expect(entries(page)).to_have_count(1)
    await expect(heading).to_be_visible()


async def test_a_transcript_that_breaks_off_is_reported_until_it_comes(
    stored: Server, open_sessions: OpenSessions
) -> None:
    page = await open_sessions(stored)
    council = page.get_by_role("button", name="City council")
    async with breaking_off() as broken:
        await page.route("**/transcript.json*", lambda route: route.continue_(url=broken))
        await council.click()
        await expect(state(page)).to_have_text("The server does not answer")
        await page.unroute_all()
    await council.click()
    await expect(captions(page)).to_have_count(2)
    await expect(state(page)).to_have_text("2 transcripts")


async def test_every_format_is_downloaded_with_lines_as_chosen(stored: Server, open_sessions: OpenSessions) -> None:
    page = await open_sessions(stored)
    await page.get_by_role("button", name="City council").click()
    await page.get_by_label("Length of subtitle lines").select_option("32")
    begins = {"WebVTT": "WEBVTT", "SRT": "1\n00:00:00,000 -->", "Text": "The tram", "JSON": "{"}
    for name, begin in begins.items():
        async with page.expect_download() as waiting:
            await page.get_by_role("link", name=name, exact=True).click()
        download = await waiting.value
        assert re.fullmatch(r"2026-02-02T0240-captions\.(vtt|srt|txt|json)", download.suggested_filename)
        text = await asyncio.to_thread(Path(await download.path()).read_text)
        assert text.startswith(begin)
        if name == "SRT":
            lines = [line for line in text.splitlines() if " " in line and "-->" not in line]
            assert max(map(len, lines)) <= 32


async def test_a_transcript_is_deleted_only_when_that_is_confirmed(
    serve_stored: ServeStored, open_sessions: OpenSessions
) -> None:
    server = await serve_stored()
    page = await open_sessions(server)
    await page.get_by_role("button", name="City council").click()
    dialog = page.get_by_role("dialog", name="Delete this transcript?")
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(dialog).to_contain_text("City council")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(entries(page)).to_have_count(2)
    await page.get_by_role("button", name="Delete", exact=True).click()
    await dialog.get_by_role("button", name="Delete permanently").click()
    await expect(state(page)).to_have_text("1 transcript")
    await expect(page.get_by_role("heading", name="City council")).to_be_hidden()
    await expect(page.get_by_role("searchbox")).to_be_focused()
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}v1/sessions/council") as response:
        assert response.status == 404


async def test_empty_sessions_are_shown_when_asked_for_and_parts_stand_with_their_room(
    many: Server, open_sessions: OpenSessions
) -> None:
    page = await open_sessions(many)
    await expect(state(page)).to_have_text("23 transcripts")
    await expect(page.get_by_role("heading", name="Room hall")).to_be_visible()
    room = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="PyCon", exact=True))
    await expect(room.get_by_role("paragraph")).to_have_text("pycon")
    await expect(room.get_by_role("button")).to_have_text([re.compile("^Afternoon"), re.compile("^Morning")])
    await expect(page.get_by_role("button", name="Microphone test")).to_be_hidden()
    await page.get_by_role("switch", name="Show empty ones too").check()
    await expect(page.get_by_role("button", name="Microphone test")).to_be_visible()
    await expect(state(page)).to_have_text("24 transcripts")


async def test_a_transcript_gets_another_title(many: Server, open_sessions: OpenSessions) -> None:
    page = await open_sessions(many)
    await page.get_by_role("button", name="Talk 3").click()
    rename = page.get_by_role("button", name="Rename")
    await rename.click()
    await expect(page.get_by_role("dialog").get_by_label("Title")).to_have_value("Talk 3")
    await page.keyboard.type("Wrong")
    await page.keyboard.press("Escape")
    await expect(rename).to_be_focused()
    await expect(page.get_by_role("heading", name="Talk 3")).to_be_visible()
    await rename.click()
    await page.keyboard.type("Trams")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Trams")).to_be_visible()
    await expect(rename).to_be_focused()
    await page.reload()
    await expect(page.get_by_role("button", name="Trams")).to_be_visible()


async def test_on_a_phone_an_opened_transcript_is_in_view_and_on_paper_it_is_alone(
    many: Server, open_sessions: OpenSessions
) -> None:
    page = await open_sessions(many)
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.get_by_role("button", name="Talk 19").click()
    await expect(captions(page).first).to_be_in_viewport()
    await expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_text(
        ["Speak", "Transcripts", "Status"]
    )
    await page.emulate_media(media="print")
    await expect(page.locator("button, input, select, a").filter(visible=True)).to_have_count(0)
    await expect(page.get_by_role("heading").filter(visible=True)).to_have_text(["Talk 19"])


async def test_a_long_list_goes_on_when_asked(
    serve_stored: ServeStored, open_sessions: OpenSessions, tmp_path: Path
) -> None:
    with opened(tmp_path / "transcripts.db") as database:
        for n in range(60):
            fill(database, new_session(str(n), f"Talk {n}"), [final("And so on.")])
    page = await open_sessions(await serve_stored())
    await expect(state(page)).to_have_text("50 or more transcripts")
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route("**/v1/sessions?before=*", held.put)
    await page.get_by_role("button", name="Show older transcripts").dblclick()
    for route in [await held.get(), await held.get()]:
        await route.continue_()
    await expect(state(page)).to_have_text("62 transcripts")
    await expect(entries(page)).to_have_count(62)
    await expect(page.get_by_role("button", name="Show older transcripts")).to_be_hidden()


async def test_a_session_that_runs_is_marked_as_running(serve_stored: ServeStored, open_sessions: OpenSessions) -> None:
    server = await serve_stored()
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{server.url}v1/stream") as socket:
        await socket.send_json({"type": "start", "title": "Now"})
        await socket.send_bytes(pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms")))
        async for message in socket:
            if json.loads(message.data)["type"] == "final":
                break
        page = await open_sessions(server)
        await expect(entries(page).first).to_contain_text(re.compile("Now.*1 caption · en · running"))
        await page.get_by_role("button", name="Now").click()
        await page.get_by_role("button", name="Delete", exact=True).click()
        await expect(page.get_by_role("dialog", name="Delete this transcript?")).to_contain_text("It is still running")


async def test_the_token_is_asked_for_once(serve_stored: ServeStored, open_sessions: OpenSessions) -> None:
    page = await open_sessions(await serve_stored("--token", "säcret+/="))
    dialog = page.get_by_role("dialog", name="This server requires an access token")
    again = page.get_by_role("button", name="Enter the token")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(state(page)).to_have_text("Waiting for the access token")
    await again.focus()
    await page.keyboard.press("Enter")
    await dialog.get_by_label("Access token").fill("wrong")
    await dialog.get_by_role("button", name="Show transcripts").click()
    await expect(dialog).to_contain_text("This token was not accepted.")
    await dialog.get_by_label("Access token").fill("säcret+/=")
    await dialog.get_by_role("button", name="Show transcripts").click()
    await expect(state(page)).to_have_text("2 transcripts")
    await expect(again).to_be_hidden()
    await page.reload()
    await expect(state(page)).to_have_text("2 transcripts")


async def test_a_refusal_is_shown_in_the_words_of_the_page(stored: Server, open_sessions: OpenSessions) -> None:
    """The request comes from another machine, over a proxy. The server's own words are English."""
    page = await open_sessions(stored)
    await expect(state(page)).to_have_text("2 transcripts")
    await page.set_extra_http_headers({"X-Forwarded-For": "192.0.2.1"})
    await search(page, "tram")
    await expect(state(page)).to_have_text(
        "Without an access token, transcripts are listed and changed only on the server's own machine, at localhost"
    )
    await expect(page.get_by_role("button", name="Enter the token")).to_be_hidden()


async def test_a_server_that_keeps_nothing_or_is_gone_is_reported(serve: Serve, open_sessions: OpenSessions) -> None:
    server = await serve("--engine", "scripted", "--store", "none")
    page = await open_sessions(server)
    await expect(state(page)).to_have_text("This server stores no transcripts")
    server.terminate()
    await server.process.wait()
    await search(page, "tram")
    await expect(state(page)).to_have_text("The server does not answer")


async def test_the_page_breaks_no_rule_of_accessibility(many: Server, browser: Browser) -> None:
    async with await browser.new_context(bypass_csp=True) as context:
        page = await context.new_page()
        await page.goto(f"{many.url}sessions")
        await search(page, "and so on")
        await page.get_by_role("button", name="Talk 5").click()
        await expect(captions(page)).to_have_count(9)
        await expect(page.get_by_role("heading", name="PyCon")).to_be_visible()
        await assert_accessible(page)
        await page.get_by_role("button", name="Rename").click()
        await assert_accessible(page, ["light"])
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Delete", exact=True).click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await assert_accessible(page)


async def test_nothing_is_cut_off_in_a_window_of_320_pixels(stored: Server, open_sessions: OpenSessions) -> None:
    """WCAG 1.4.10: the width of a desktop at 400 % zoom."""
    page = await open_sessions(stored)
    await page.get_by_role("button", name="City council").click()
    await expect(captions(page)).to_have_count(2)
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def test_captions_of_a_session_that_runs_are_sent_to_a_service(
    serve_stored: ServeStored, open_sessions: OpenSessions
) -> None:
    server = await serve_stored()
    speech = pcm_s16le(sound("silence 200ms, speech 900ms, silence 900ms"))
    async with receiving() as receiver, connect(server.url, StreamSettings(title="Sent on")) as stream:
        await stream.send_audio(speech)
        page = await open_sessions(server)
        await page.get_by_role("button", name="City council").click()
        await expect(page.locator("#sinks")).to_be_hidden()
        await page.get_by_role("button", name="Sent on").click()
        await page.locator("#sinks summary").click()
        await page.locator("#sink-service").select_option("StreamText")
        await page.get_by_label("Address that the service gives").fill(receiver.url)
        await page.get_by_role("button", name="Send captions there").click()
        item = page.locator("#sink-list li")
        await expect(item).to_contain_text("StreamText at 127.0.0.1")
        await assert_accessible(page)
        await stream.send_audio(speech)
        await receiver.took(1)
        await stream.stop()
        async for _ in stream:
            pass
        await expect(item).to_have_count(0)


async def test_sinks_of_one_session_are_not_shown_with_another(
    serve_stored: ServeStored, open_sessions: OpenSessions
) -> None:
    server = await serve_stored()
    async with (
        receiving() as receiver,
        connect(server.url, StreamSettings(title="Sent on")),
        connect(server.url, StreamSettings(title="Kept here")),
    ):
        page = await open_sessions(server)
        await page.get_by_label("Show empty ones too").check()
        await page.get_by_role("button", name="Sent on").click()
        await page.locator("#sinks summary").click()
        await page.get_by_label("Address that the service gives").fill(receiver.url)
        await page.get_by_role("button", name="Send captions there").click()
        items = page.locator("#sink-list li")
        await expect(items).to_have_count(1)
        await page.route("**/sinks", lambda _: None)  # no answer comes
        await page.get_by_role("button", name="Kept here").click()
        await expect(page.locator("#opened-title")).to_have_text("Kept here")
        await page.locator("#sinks summary").click()
        await expect(page.locator("#sink-url")).to_be_visible()
        await expect(items).to_have_count(0)
