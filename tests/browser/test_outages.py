"""The speaker's page in outages that last longer than the resume window: it goes on by itself, and loses no sound."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from livecaption.client import Reconnecting, RoomEntry, StreamSettings, connect
from tests.browser.reading import load_again, shared_link
from tests.browser.support import ROOT, WAIT_MS, Serve, Server, serving, show_if_failed
from tests.browser.test_speaker_page import (
    end_event,
    expect_state,
    opened,
    press,
    room_at,
    said,
)
from tests.support.eventually import eventually
from tests.support.relay import Relay, relay_to

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FLAGS = ("--engine", "scripted", "--resume-window")
SLACK_MS = 1500
"""Sound that is in neither part, because it was on its way between the clicks and the microphone."""


@pytest_asyncio.fixture(loop_scope="session")
async def context(speaking_browser: Browser) -> AsyncIterator[BrowserContext]:
    """One speaker's browser, in which the microphone is allowed."""
    async with await speaking_browser.new_context(bypass_csp=True, permissions=["microphone"]) as context:
        yield context
        await show_if_failed(context)


async def impatient(context: BrowserContext, module: str, **limits: float) -> None:
    """Give a module of the page other limits of time than its own, which are too long for a test."""
    source = (ROOT / "static" / module).read_text()
    for name, limit in limits.items():
        source, n_changed = re.subn(rf"const {name} = [^;]+;", f"const {name} = {limit};", source)
        assert n_changed == 1

    async def changed(route: Route) -> None:
        await route.fulfill(body=source, content_type="text/javascript")

    await context.route(f"**/static/{module}", changed)


async def presenting(page: Page) -> float:
    """Speak, and fill the screen of the hall; return the monotonic time since which there is sound."""
    await press(page, "Start captions")
    await expect_state(page, "Live")
    began_s = time.monotonic()
    await said(page)
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("p")
    return began_s


async def parts_at_the_end(page: Page) -> list[dict[str, Any]]:
    """Leave the presentation, in which no dialog stands, and end the event; return its parts."""
    assert await page.locator("dialog[open]").count() == 0
    await page.keyboard.press("p")
    return await parts_of_ended_event(page)


async def parts_of_ended_event(page: Page) -> list[dict[str, Any]]:
    """End the event; return its parts."""
    await end_event(page)
    await expect_state(page, "Ready")
    room = await room_at(page, await shared_link(page))
    parts: list[dict[str, Any]] = room["parts"]
    return parts


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def hasty_server() -> AsyncIterator[Server]:
    """A server that waits for a publisher for one second."""
    async with serving(*FLAGS, "1") as server:
        yield server


async def room_becomes(state: str, page: Page, link: str) -> None:
    """Wait for this state of the page's event at the server."""
    async with asyncio.timeout(WAIT_MS / 1000):
        while (await room_at(page, link))["state"] != state:  # noqa: ASYNC110 - a request each time
            await asyncio.sleep(0.05)


WAITS = "The server does not take the sound now. Captions go on by themselves once it does."
"""The notice of a page whose resume window is over."""

READY_OF_A_NEW_SESSION = b'"received_ms":0,"resume_window_ms"'


class Away(NamedTuple):
    """A page whose network is broken, and whose session has ended meanwhile.

    `link` is that of its event, past the relay. `began_s` is the monotonic time since which there is sound.
    """

    page: Page
    relay: Relay
    link: str
    began_s: float

    async def room(self, *, take_over: bool = False) -> RoomEntry:
        """Return the entry of the page's event for somebody else who speaks in it."""
        room = await self.page.evaluate("JSON.parse(localStorage.getItem('livecaption.rooms')).at(-1)")
        return RoomEntry(room["name"], room["secret"], take_over)


@asynccontextmanager
async def away(server: Server, context: BrowserContext) -> AsyncIterator[Away]:
    """Break the network of a page that speaks until its session has ended."""
    async with relay_to(server.url) as relay:
        page = await opened(context, relay.url)
        link = (await shared_link(page)).replace(relay.url, server.url)
        await press(page, "Done")
        began_s = await presenting(page)
        relay.cut()
        await expect(page.locator("#stage-mark")).to_have_text("Reconnecting")
        await expect(page.locator("#notice")).to_contain_text(WAITS)
        await room_becomes("break", page, link)
        yield Away(page, relay, link, began_s)


async def test_a_page_goes_on_with_the_next_part_and_all_sound_if_its_session_has_ended_meanwhile(
    hasty_server: Server, context: BrowserContext
) -> None:
    async with away(hasty_server, context) as (page, relay, _, began_s):
        relay.up = True
        await expect(page.locator("#notice")).to_contain_text("Captions continue as a new part")
        await expect_state(page, "Live")
        await said(page)
        spoken_ms = (time.monotonic() - began_s) * 1000
        parts = await parts_at_the_end(page)
    assert [part["state"] for part in parts] == ["ended", "ended"]
    assert sum(part["duration_ms"] for part in parts) > spoken_ms - SLACK_MS


async def test_a_page_that_was_away_while_somebody_else_began_shows_it_without_a_dialog(
    hasty_server: Server, context: BrowserContext
) -> None:
    async with away(hasty_server, context) as site:
        page = site.page
        async with connect(hasty_server.url, StreamSettings(room=await site.room())):
            site.relay.up = True
            await expect(page.locator("#stage-mark")).to_have_text("Taken over")
            assert await page.locator("dialog[open]").count() == 0
            await expect(page.locator("#notice")).to_contain_text("of sound is lost")


async def test_a_page_is_not_refused_for_long_by_a_part_of_its_own_whose_beginning_the_network_has_lost(
    hasty_server: Server, context: BrowserContext
) -> None:
    """The page cannot go on with that part. It tries again until the server does not wait for it any more."""
    await impatient(context, "session.js", DEFAULT_RETRY_S=0.1)
    async with away(hasty_server, context) as (page, relay, _, began_s):
        relay.lost = READY_OF_A_NEW_SESSION
        relay.up = True
        # Before, the page is live for a moment with the end of its former part.
        await eventually(lambda: relay.lost == b"", WAIT_MS / 1000)
        await expect_state(page, "Live")
        await said(page)
        spoken_ms = (time.monotonic() - began_s) * 1000
        first, unknown, last = await parts_at_the_end(page)
    assert [part["state"] for part in (first, unknown, last)] == ["ended"] * 3
    assert first["duration_ms"] + last["duration_ms"] > spoken_ms - SLACK_MS


async def test_a_page_shows_in_the_end_that_somebody_has_taken_over_a_part_whose_beginning_it_has_missed(
    hasty_server: Server, context: BrowserContext
) -> None:
    await impatient(context, "session.js", DEFAULT_RETRY_S=0.1, MAX_UNNOTICED_MS=0)
    async with away(hasty_server, context) as site:
        site.relay.lost = READY_OF_A_NEW_SESSION
        site.relay.up = True
        await room_becomes("live", site.page, site.link)
        async with connect(hasty_server.url, StreamSettings(room=await site.room(take_over=True))):
            await expect(site.page.locator("#stage-mark")).to_have_text("Taken over")


async def test_an_event_is_ended_while_the_page_waits_once_the_server_is_back(
    hasty_server: Server, context: BrowserContext
) -> None:
    """The page shows before that the server does not answer."""
    async with away(hasty_server, context) as (page, relay, link, _):
        await page.keyboard.press("p")
        await end_event(page)
        await expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        await expect_state(page, "Paused")
        relay.up = True
        await end_event(page)
        await expect_state(page, "Ready")
        assert (await room_at(page, link))["state"] == "ended"


async def test_a_page_goes_on_with_its_session_if_its_server_was_gone_for_longer_than_the_resume_window(
    serve: Serve, context: BrowserContext, tmp_path: Path, unused_tcp_port: int
) -> None:
    """The new server waits for its publishers from when it is ready."""
    flags = (*FLAGS, "3", "--port", str(unused_tcp_port), "--store", str(tmp_path / "transcripts.db"))
    server = await serve(*flags)
    page = await opened(context, server.url)
    began_s = await presenting(page)
    server.process.kill()
    await server.process.wait()
    await expect(page.locator("#notice")).to_contain_text(WAITS)
    await serve(*flags)
    await expect_state(page, "Live")
    await said(page)
    spoken_ms = (time.monotonic() - began_s) * 1000
    [part] = await parts_at_the_end(page)
    assert part["duration_ms"] > spoken_ms - SLACK_MS


async def test_a_page_whose_network_dies_without_a_word_shows_it_and_goes_on_with_its_session(
    hasty_server: Server, context: BrowserContext
) -> None:
    """The server still believes in the old connection. The page has waited longer than the resume window."""
    await impatient(context, "stream.js", MAX_SILENCE_MS=1500)
    async with relay_to(hasty_server.url) as relay:
        page = await opened(context, relay.url)
        began_s = await presenting(page)
        relay.hold()
        await expect(page.locator("#stage-mark")).to_have_text("Reconnecting")
        await expect(page.locator("#notice")).to_contain_text(WAITS)
        relay.release()
        await expect_state(page, "Live")
        await expect(page.locator("#notice")).not_to_contain_text(WAITS)
        spoken_ms = (time.monotonic() - began_s) * 1000
        [part] = await parts_at_the_end(page)
    assert part["duration_ms"] > spoken_ms - SLACK_MS


async def test_sound_that_is_lost_in_an_outage_is_counted_and_the_count_stays(
    scripted_server: Server, context: BrowserContext
) -> None:
    await impatient(context, "stream.js", MAX_OUTAGE_MS=1000)
    async with relay_to(scripted_server.url) as relay:
        page = await opened(context, relay.url)
        await presenting(page)
        relay.cut()
        lost = page.locator("#notice").get_by_text(re.compile(r"^[1-9]\.\d s of sound is lost\. It has no captions\.$"))
        await expect(lost).to_have_count(1)  # the presentation hides it
        relay.up = True
        await expect_state(page, "Live")
        await expect(lost).to_have_count(1)
        [part] = await parts_at_the_end(page)
        assert part["state"] == "ended"


HOLD_NEXT = """id => {
  const hold = () => new Promise((free) => setTimeout(free, 3000));
  navigator.locks.request(`livecaption.tab.${id}`, hold);
}"""
"""A script that waits for the lock of a tab, and holds it for some time."""


async def test_a_duplicated_tab_leaves_the_session_to_the_first_one(
    scripted_server: Server, context: BrowserContext
) -> None:
    page = await opened(context, scripted_server.url)
    await press(page, "Start captions")
    lines = await said(page)
    async with page.expect_popup() as duplicating:
        await page.evaluate("void window.open(location.href)")  # the copy has the session storage of this tab
    copy = await duplicating.value
    await expect(copy.locator("#transcript p span").first).to_have_text(lines[0])
    await expect(copy.locator("#welcome")).to_be_hidden()
    await expect_state(copy, "Paused")
    await expect_state(page, "Live")
    await press(copy, "Continue captions")
    await copy.get_by_role("dialog", name="Somebody speaks in this event already").wait_for()
    await expect_state(page, "Live")


async def test_a_page_whose_session_somebody_else_goes_on_with_blames_nobody(
    scripted_server: Server, context: BrowserContext
) -> None:
    page = await opened(context, scripted_server.url)
    await press(page, "Start captions")
    await expect_state(page, "Live")
    point = await page.evaluate("JSON.parse(sessionStorage.getItem('livecaption.tab')).running")
    async with connect(scripted_server.url) as other:
        ready = point["ready"]
        other.ready = replace(other.ready, session=ready["session"], resume_token=ready["resume_token"])
        other.last_seq = point["lastSeq"]
        other._socket._writer.transport.abort()
        assert await anext(other) == Reconnecting()
        reading = asyncio.ensure_future(anext(other))
        await expect_state(page, "Taken over")
        await expect(page.get_by_role("alert")).to_contain_text("Somebody else speaks now")
        await reading


async def test_a_page_that_is_loaded_again_goes_on_though_the_page_before_is_long_in_ending(
    scripted_server: Server, context: BrowserContext
) -> None:
    """Another page holds its lock for a time, as the page before does on a slow machine."""
    page = await opened(context, scripted_server.url)
    await press(page, "Start captions")
    await said(page)
    other = await opened(context, f"{scripted_server.url}stats")
    await other.evaluate(HOLD_NEXT, await page.evaluate("JSON.parse(sessionStorage['livecaption.tab']).id"))
    await load_again(page)
    assert [part["state"] for part in await parts_of_ended_event(page)] == ["ended"]


async def test_a_page_that_is_loaded_again_with_another_microphone_is_not_refused_by_its_own_session(
    scripted_server: Server, context: BrowserContext
) -> None:
    """A session has one sample rate, so the next part begins."""
    page = await opened(context, scripted_server.url)
    await press(page, "Start captions")
    await said(page)
    await page.add_init_script(
        "const tab = JSON.parse(sessionStorage['livecaption.tab']); tab.running.sampleRateHz = 8000;"
        "sessionStorage['livecaption.tab'] = JSON.stringify(tab)"
    )
    await load_again(page)
    assert [part["state"] for part in await parts_of_ended_event(page)] == ["ended", "ended"]
