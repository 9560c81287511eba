"""The readers' page of a room: before, between and after its parts, without WebSockets, in many tabs, as an overlay."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.reading import OpenPage, expect_lines, expect_state, put, speaking
from tests.browser.support import ALL_SCHEMES, Launch, Scheme, Server, assert_accessible

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LOCKS = """window.locks = 0;
Object.defineProperty(navigator, "wakeLock", { value: { request: async () => {
  window.locks += 1;
  return { release: async () => { window.locks -= 1; } };
} } });"""
"""A script that counts the screens that are kept on."""

WITHOUT_WEBSOCKETS = """WebSocket = class extends EventTarget {
  constructor() {
    super();
    setTimeout(() => this.onclose({ code: 1006 }));
  }
  close() {}
}"""


@pytest.fixture
def room() -> str:
    return f"room-{uuid.uuid4().hex[:12]}"


@pytest_asyncio.fixture(loop_scope="session")
async def phone(launch: Launch) -> AsyncIterator[Page]:
    """A phone whose screen lock is counted."""
    browser = await launch()
    async with await browser.new_context(
        bypass_csp=True, viewport={"width": 390, "height": 844}, has_touch=True
    ) as context:
        page = await context.new_page()
        await page.add_init_script(LOCKS)
        yield page


async def expect_notice(page: Page, *sentences: str, schemes: Sequence[Scheme] = ("light",)) -> None:
    """Wait for these words in the page, and check that nothing in it breaks a rule of accessibility."""
    for sentence in sentences:
        await expect(page.locator("#notice")).to_contain_text(sentence)
    await assert_accessible(page, schemes)
    assert await page.evaluate("document.documentElement.scrollWidth") == 390


async def expect_screen_lock(page: Page, *, held: bool) -> None:
    await page.wait_for_function(f"window.locks === {int(held)}")


async def test_one_link_shows_a_room_from_before_its_start_to_its_transcript(
    scripted_server: Server, phone: Page, room: str
) -> None:
    """The screen stays on while captions come, and each word is seen once."""
    await put(scripted_server, room, title="PyCon")
    await phone.goto(f"{scripted_server.url}watch/{room}")
    await expect_notice(phone, "PyCon", "The captions start soon.")
    async with speaking(scripted_server, room=room, title="Morning") as publisher:
        a_second_later = await phone.evaluate("Date.now() + 1000")
        said = [await publisher.say()]
        await expect_lines(phone, said)
        await expect(phone.get_by_role("heading", name="PyCon")).to_be_visible()
        await expect(phone.locator("#notice")).to_be_hidden()
        await expect(phone.locator("#roll-up p").filter(visible=True)).to_have_count(0)
        await expect_screen_lock(phone, held=True)
        await publisher.stop()
    await expect_notice(phone, "Break", "The captions go on here.")
    await expect_screen_lock(phone, held=False)
    await phone.wait_for_function(f"Date.now() > {a_second_later}")
    async with speaking(scripted_server, room=room, title="Afternoon") as publisher:
        said.append(await publisher.say(1500))
        await expect_lines(phone, said)
        await expect(phone.locator("#transcript h2")).to_have_text(
            [re.compile("^Morning ·"), re.compile("^Afternoon ·")]
        )
        await expect_screen_lock(phone, held=True)
        await publisher.stop(end_room=True)
    await expect_notice(phone, "The event is over", "Here is its transcript.")
    await expect_screen_lock(phone, held=False)

    await phone.reload()
    await expect_notice(phone, "The event is over", schemes=ALL_SCHEMES)
    await expect_lines(phone, said)
    text = ""
    for name, begin in {"WebVTT": "WEBVTT", "Text": "Morning · ", "SRT": "1\n00:00:00"}.items():
        async with phone.expect_download() as waiting:
            await phone.locator("#notice").get_by_role("button", name=name).tap()
        text = await asyncio.to_thread(Path(await (await waiting.value).path()).read_text)
        assert text.startswith(begin)
    # Times go on from part to part, as in the files.
    times = [f"{int(minutes)}:{seconds}" for minutes, seconds in re.findall(r"^00:(\d\d):(\d\d),.* -->", text, re.M)]
    assert times[1] != "0:00"
    await expect(phone.locator("#transcript time")).to_have_text(times)
    await expect(phone.get_by_role("button", name="Downloads")).to_be_hidden()

    # On paper there are the title, the parts and the captions, and nothing to press.
    await phone.emulate_media(media="print")
    await expect(phone.get_by_role("button").filter(visible=True)).to_have_count(0)
    await expect(phone.get_by_role("heading").filter(visible=True)).to_have_text(
        ["PyCon", re.compile("^Morning"), re.compile("^Afternoon")]
    )
    assert await phone.evaluate("getComputedStyle(document.querySelector('#transcript')).position") == "static"


async def test_readers_and_a_video_come_back_by_themselves_when_another_event_begins_at_the_link(
    scripted_server: Server, phone: Page, open_page: OpenPage, room: str
) -> None:
    """They show no word of the event before, neither to those who stayed nor to those who come."""
    link = f"{scripted_server.url}watch/{room}"
    await put(scripted_server, room)
    await phone.clock.install()
    await phone.goto(link)
    overlay = await open_page(f"{link}?overlay=1")
    lines = overlay.locator("#roll-up p").filter(has_text=re.compile(r"\w"))
    async with speaking(scripted_server, room=room, title="Ecology") as publisher:
        said = [await publisher.say()]
        await expect_lines(phone, said)
        await expect(phone.get_by_role("heading", name="Ecology", exact=True)).to_be_visible()
        await publisher.stop(end_room=True)
    await expect_notice(phone, "The event is over")
    await expect(lines).to_have_count(0)
    async with speaking(scripted_server, room=room, title="Chemistry") as publisher:
        said = [await publisher.say(1500)]
        await phone.clock.fast_forward(30_000)
        await overlay.evaluate("dispatchEvent(new Event('online'))")  # no clock of the test's own in this one
        await expect_lines(phone, said)
        await expect(phone.get_by_role("heading", name="Chemistry", exact=True)).to_be_visible()
        await expect(overlay.locator("html")).to_have_attribute("data-room", "live")
        said.append(await publisher.say())
        await expect(lines).to_have_text(said[1:])
        await expect_lines(phone, said)


async def test_no_trouble_of_a_reader_breaks_a_rule_of_accessibility(
    scripted_server: Server, phone: Page, room: str
) -> None:
    await phone.goto(f"{scripted_server.url}watch/nobody")
    await expect_notice(phone, "There are no captions at this link", schemes=ALL_SCHEMES)
    async with speaking(scripted_server, room=room, private=True) as publisher:
        link = publisher.page_of(scripted_server.url)
        await phone.goto(link.partition("#")[0])
        await expect_notice(phone, "These captions are private")
        await phone.route_web_socket(re.compile("/nowhere/"), lambda socket: None)  # without one, later ones do nothing
        await phone.goto(f"{scripted_server.url}healthz")
        await phone.goto(link)
        await expect_lines(phone, [await publisher.say()])
        await phone.get_by_role("button", name="Downloads").tap()
        await assert_accessible(phone)
        await phone.get_by_role("button", name="Done").tap()
        await phone.get_by_role("button", name="Options").tap()
        await assert_accessible(phone)
        await phone.get_by_role("button", name="Done").tap()
        await phone.route_web_socket(re.compile("/v1/rooms/"), lambda socket: socket.close())
        await phone.route("**/v1/rooms/**", lambda route: route.abort())
        await phone.evaluate("dispatchEvent(new Event('online'))")  # another network, over which nothing is reached
        await expect_notice(phone, "The connection is lost", schemes=ALL_SCHEMES)


async def test_a_reader_copies_the_transcript_where_the_browser_has_no_clipboard(
    scripted_server: Server, open_page: OpenPage, room: str
) -> None:
    """Phones open the page by the server's LAN address over http, where browsers have none."""
    no_clipboard = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
    async with speaking(scripted_server, room=room) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url), before=no_clipboard)
        said = await publisher.say()
        await page.get_by_role("button", name="Downloads").click()
        await expect(page.get_by_role("dialog", name="Transcript")).to_be_visible()
        copied = (
            "new Promise((resolve) => addEventListener('copy', () => resolve(String(document.activeElement.value))))"
        )
        copy = asyncio.ensure_future(page.evaluate(copied))
        await page.get_by_role("button", name="Copy").click()
        await expect(page.get_by_role("button", name="Copied")).to_be_focused()
        assert await copy == f"{said}\n"
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Downloads")).to_be_focused()


async def test_without_websockets_a_room_is_read_by_server_sent_events(
    scripted_server: Server, open_page: OpenPage, room: str
) -> None:
    """Some proxies let no WebSocket through."""
    async with speaking(scripted_server, room=room) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url), before=WITHOUT_WEBSOCKETS)
        said = [await publisher.say()]
        await expect_lines(page, said)
        await publisher.stop()
        await expect_state(page, "Break")
    async with speaking(scripted_server, room=room) as publisher:
        said.append(await publisher.say(600))
        await expect_lines(page, said)
        await publisher.stop(end_room=True)
    await expect_state(page, "Over")
    await expect_lines(page, said)


async def test_seven_tabs_of_one_browser_read_along(scripted_server: Server, open_page: OpenPage, room: str) -> None:
    """A browser opens six requests to one server; a seventh waits."""
    await put(scripted_server, room)
    pages = [await open_page(f"{scripted_server.url}watch/{room}") for _ in range(7)]
    for page in pages:
        await expect_state(page, "Starts soon")


async def test_an_overlay_is_set_by_its_address_and_cleared_when_nothing_is_said(
    scripted_server: Server, open_page: OpenPage, room: str
) -> None:
    query = "?overlay=1&hold=1&size=150&colors=yellow-on-black&position=top&lines=3&font=serif"
    async with speaking(scripted_server, room=room) as publisher:
        cleared = await open_page(publisher.page_of(scripted_server.url, query))
        kept = await open_page(publisher.page_of(scripted_server.url, "?overlay=1&hold=0&lines=none"))
        lines = cleared.locator("#roll-up")
        await expect(lines).to_have_css("color", "rgb(255, 230, 0)")
        await expect(lines).to_have_css("font-family", re.compile("^Charter"))
        height, line = await lines.evaluate("e => [e.clientHeight, parseFloat(getComputedStyle(e).lineHeight)]")
        assert height == pytest.approx(3 * line, abs=0.2 * line)
        said = await publisher.say()
        await expect(kept.locator("#roll-up")).to_have_text(said)
        await expect(lines).to_have_text("")
        await expect(kept.locator("#roll-up")).to_have_text(said)
        await publisher.stop()
        await expect(kept.locator("#roll-up")).to_have_text("")


async def test_switches_show_their_state_in_forced_colors(scripted_server: Server, launch: Launch) -> None:
    browser = await launch()
    async with await browser.new_context(forced_colors="active") as context:
        page = await context.new_page()
        await page.goto(f"{scripted_server.url}watch/nobody")
        await page.get_by_role("button", name="Options").click()
        switches = await page.get_by_role("switch").all()
        assert switches
        for switch in switches:
            await expect(switch).to_have_css("appearance", "auto")
