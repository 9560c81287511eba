"""The lists of sources: what they show is captured, also where a microphone is missing that was chosen before."""

import json
import re
from collections.abc import Sequence

import pytest
from playwright.async_api import Page, expect

from tests.browser.reading import OpenPage, expect_state, load_again
from tests.browser.support import Server

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

MICROPHONES = """
const devices = navigator.mediaDevices;
const [open, list] = [devices.getUserMedia.bind(devices), devices.enumerateDevices.bind(devices)];
const named = (deviceId) => ({ kind: 'audioinput', deviceId, label: deviceId });
let pluggedIn = PLUGGED_IN;
let isNamed = IS_NAMED;
window.captured = [];
devices.enumerateDevices = async () => {
  await new Promise((resolve) => setTimeout(resolve, 300));  // systems with many devices take longer
  return isNamed ? [...(await list()), ...pluggedIn.map(named)] : [named('')];
};
devices.getUserMedia = async ({ audio: { deviceId, ...wishes } }) => {
  const isOurs = pluggedIn.includes(deviceId?.exact);
  const media = await open({ audio: isOurs ? wishes : { deviceId, ...wishes } });
  captured.push(deviceId?.exact ?? '');
  isNamed = true;
  return media;
};
window.plugIn = (...ids) => {
  pluggedIn = ids;
  devices.dispatchEvent(new Event('devicechange'));
};
navigator.permissions.query = async () => ({ state: 'granted' });
localStorage.setItem('livecaption.settings', JSON.stringify(SETTINGS));
"""


def browser(plugged_in: Sequence[str] = (), *, is_named: bool = True, **settings: str) -> str:
    """Return a script for a browser with these settings and microphones, and one that is the default.

    Unless they are named at once, they are after one of them was allowed, as in some browsers.
    """
    values = {"PLUGGED_IN": list(plugged_in), "IS_NAMED": is_named, "SETTINGS": settings}
    return re.sub("|".join(values), lambda match: json.dumps(values[match[0]]), MICROPHONES)


async def expect_shown(page: Page, source: str, second: str) -> None:
    await expect(page.locator("#source option:checked")).to_have_text(source)
    await expect(page.locator("#second-source option:checked")).to_have_text(second)


async def test_a_missing_microphone_is_neither_shown_nor_asked_for_until_it_is_back(
    scripted_server: Server, open_page: OpenPage
) -> None:
    page = await open_page(scripted_server.url, browser(source="Lectern", secondSource="Hall"))
    await expect_shown(page, "Default microphone", "None")
    await page.get_by_role("button", name="Start captions").click()
    await expect_state(page, "Live")
    assert await page.evaluate("captured") == [""]
    await expect(page.get_by_role("meter", name="Level of the second sound")).to_be_hidden()

    # What is captured stays shown, so that the other one can be chosen.
    await page.evaluate("plugIn('Lectern', 'Hall')")
    await expect(page.locator("#source option", has_text="Lectern")).to_be_attached()
    await expect_shown(page, "Default microphone", "None")
    await page.get_by_role("button", name="Pause captions").click()
    await expect_state(page, "Paused")
    await page.evaluate("plugIn('Lectern', 'Hall', 'Stage')")
    await expect_shown(page, "Lectern", "Hall")
    await expect(page.get_by_role("meter", name="Level of the second sound")).to_be_visible()
    await page.evaluate("plugIn('Lectern')")
    await expect_shown(page, "Lectern", "None")
    await expect(page.get_by_role("meter", name="Level of the second sound")).to_be_hidden()


async def test_a_page_that_is_loaded_again_goes_on_without_a_microphone_that_is_gone(
    scripted_server: Server, open_page: OpenPage
) -> None:
    page = await open_page(scripted_server.url, browser(source="Lectern"))
    await expect_shown(page, "Default microphone", "None")
    await page.get_by_role("button", name="Start captions").click()
    await expect_state(page, "Live")
    await load_again(page)


async def test_where_a_browser_names_no_microphone_yet_the_chosen_one_is_used_or_given_up(
    scripted_server: Server, open_page: OpenPage
) -> None:
    kept = browser(["Lectern"], is_named=False, source="Lectern", secondSource="Hall")
    page = await open_page(scripted_server.url, kept)
    await expect_shown(page, "Microphone 1", "Microphone 2")
    await page.get_by_role("button", name="Options").click()
    await page.locator("#second-source").select_option("None")
    await page.get_by_role("button", name="Done").click()
    await page.get_by_role("button", name="Start captions").click()
    await expect_state(page, "Live")
    await expect_shown(page, "Lectern", "None")
    assert await page.evaluate("captured") == ["Lectern"]
