"""The speaker's page attaches services that get the captions, and shows what becomes of them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from livecaption.client import RoomEntry, StreamSettings, connect
from tests.browser.reading import OpenPage
from tests.browser.support import Server, assert_accessible
from tests.support.receivers import CaptionReceiver, receiving
from tests.support.speech import pcm_s16le, sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[CaptionReceiver]:
    async with receiving() as running:
        yield running


async def test_a_service_is_attached_watched_and_detached(
    scripted_server: Server, open_page: OpenPage, receiver: CaptionReceiver
) -> None:
    page = await open_page(scripted_server.url)
    await page.click("#share")
    await page.click("#sinks summary")
    url = page.get_by_label("Address that the service gives")
    await page.locator("#sink-service").select_option("StreamText")
    await expect(page.get_by_label("Password of OBS")).to_be_hidden()
    await url.fill("ftp://example.org")
    await url.press("Enter")
    await expect(page.locator("#sink-problem")).to_have_text("This is no address of that service.")
    await url.fill(receiver.url)
    await page.get_by_role("button", name="Send captions there").click()
    item = page.locator("#sink-list li")
    await expect(item).to_contain_text("StreamText at 127.0.0.1: nothing to send. 0 sent, 0 left out.")
    await expect(url).to_have_value("")
    assert "signature" not in await page.content()
    await assert_accessible(page)
    await item.get_by_role("button", name="Stop sending").click()
    await expect(item).to_have_count(0)


async def test_a_service_that_fails_is_shown_with_the_reason(
    scripted_server: Server, open_page: OpenPage, receiver: CaptionReceiver
) -> None:
    receiver.always = 403
    page = await open_page(scripted_server.url)
    await page.click("#share")
    await page.click("#sinks summary")
    await page.locator("#sink-service").select_option("YouTube Live")
    url, problem = page.get_by_label("Address that the service gives"), page.locator("#sink-problem")
    await url.fill("not an address")
    async with page.expect_response("**/sinks"):  # it looks on after a wrong address, which is not forgotten by that
        await url.press("Enter")
        await expect(problem).to_have_text("This is no address of that service.")
    await expect(problem).to_have_text("This is no address of that service.")
    await url.fill(receiver.url)
    await page.get_by_role("button", name="Send captions there").click()
    item = page.locator("#sink-list li")
    await expect(item).to_contain_text("nothing to send")
    await page.route("**/sinks", lambda route: route.abort())
    await expect(problem).to_contain_text("The server does not answer")
    await page.unroute_all()
    await expect(problem).to_have_text("")
    room = await page.evaluate("JSON.parse(localStorage.getItem('livecaption.rooms')).at(-1)")
    async with connect(scripted_server.url, StreamSettings(room=RoomEntry(room["name"], room["secret"]))) as stream:
        await stream.send_audio(pcm_s16le(sound("silence 200ms, speech 900ms, silence 900ms")))
        await expect(item).to_contain_text("does not take the captions (HTTP 403)")
    await item.get_by_role("button", name="Stop sending").click()
    await expect(item).to_have_count(0)
