"""The page and the many ways to read it: the rules of axe, small windows, large type, wide spacing."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.browser.support import Server, assert_accessible, show_if_failed

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CAPTIONS = """
async () => {
  const { RollUp } = await import('/static/captions.js');
  const { TranscriptView } = await import('/static/transcript-view.js');
  const element = (id) => document.getElementById(id);
  element('welcome').hidden = element('transcript-empty').hidden = true;
  const rollUp = new RollUp(element('roll-up'), element('roll-up-lines'));
  rollUp.beginSession('en');
  rollUp.showPartial({ utterance: 0, text: 'Ask not what your country can', stable: 'Ask not what' });
  const view = new TranscriptView(element('transcript'), element('jump'));
  for (let n = 0; n < 12; n += 1)
    view.add({ text: 'Ask what you can do for your country.', startMs: n * 100_000, language: 'en' });
}
"""

AS_BEFORE = """
() => {
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  document.activeElement.blur();
  document.documentElement.dataset.captionColors = 'page';
  localStorage.clear();
}
"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def context(speaking_browser: Browser) -> AsyncIterator[BrowserContext]:
    """A profile that lets axe into the pages."""
    async with await speaking_browser.new_context(bypass_csp=True) as context:
        yield context
        await show_if_failed(context)


@pytest_asyncio.fixture(loop_scope="session")
async def page(scripted_server: Server, context: BrowserContext) -> AsyncIterator[Page]:
    """A page of the test's own, with captions on it."""
    page = await captioned(scripted_server, context)
    yield page
    await page.evaluate("localStorage.clear()")
    await page.close()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def resting_page(scripted_server: Server, context: BrowserContext) -> Page:
    return await captioned(scripted_server, context)


@pytest_asyncio.fixture(loop_scope="session")
async def page_at_rest(resting_page: Page) -> AsyncIterator[Page]:
    """The page of all tests that start nothing. Afterwards it looks as before."""
    size = resting_page.viewport_size
    yield resting_page
    await resting_page.set_viewport_size(size)
    await resting_page.evaluate(AS_BEFORE)


async def captioned(server: Server, context: BrowserContext) -> Page:
    page = await context.new_page()
    await page.goto(server.url)
    await page.evaluate(CAPTIONS)
    return page


async def test_the_page_at_rest_breaks_no_rule(page_at_rest: Page) -> None:
    await assert_accessible(page_at_rest)


async def test_the_page_while_live_breaks_no_rule(page: Page) -> None:
    await page.get_by_role("button", name="Start captions").click()
    await expect(page.locator("#state")).to_have_text("Live")
    await assert_accessible(page)


async def test_the_page_with_a_problem_breaks_no_rule(page: Page) -> None:
    await page.route("**/v1/stream*", lambda route: route.abort())
    await page.get_by_role("button", name="Start captions").click()
    await expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    await assert_accessible(page)


async def test_the_options_break_no_rule(page_at_rest: Page) -> None:
    await page_at_rest.get_by_role("button", name="Options").click()
    await assert_accessible(page_at_rest)


@pytest.mark.parametrize("colors", ["white-on-black", "yellow-on-black"])
async def test_caption_colors_break_no_rule(page_at_rest: Page, colors: str) -> None:
    await page_at_rest.get_by_role("button", name="Options").click()
    await page_at_rest.get_by_role("combobox", name="Captions").select_option(colors)
    await page_at_rest.get_by_role("button", name="Done").click()
    await assert_accessible(page_at_rest)


async def test_a_browser_without_the_colors_of_the_page_uses_those_of_its_system(page: Page) -> None:
    """Safari before 17.5 does not have `light-dark()`."""

    async def without_light_dark(route: Route) -> None:
        response = await route.fetch()
        await route.fulfill(response=response, body=(await response.text()).replace("light-dark(", "unknown("))

    await page.route("**/*.css", without_light_dark)
    await page.reload()
    await page.get_by_label("Private").check()
    await page.evaluate(CAPTIONS)
    for control in ("#start-stop", "#private", "#language"):
        await expect(page.locator(control)).to_have_css("border-top-width", re.compile(r"[12]px"))
    await assert_accessible(page)


async def test_nothing_is_cut_off_in_a_window_of_320_pixels(page: Page) -> None:
    """WCAG 1.4.10: the width of a desktop at 400 % zoom; here with the largest captions too."""
    await page.set_viewport_size({"width": 320, "height": 640})
    for _ in range(10):
        await page.get_by_role("button", name="Larger captions").click()
    await expect(page.locator("#caption-size")).to_have_text("200 %")
    assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def test_wide_text_spacing_cuts_nothing_off(page_at_rest: Page) -> None:
    """WCAG 1.4.12: the spacing that a reader may impose; two lines of captions stay two whole lines."""
    await page_at_rest.set_viewport_size({"width": 800, "height": 900})
    spacing = await page_at_rest.add_style_tag(
        content="* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important }"
        " p { margin-bottom: 2em !important }"
    )
    assert await page_at_rest.evaluate("document.documentElement.scrollWidth") == 800
    cut = await page_at_rest.evaluate(
        "[...document.querySelectorAll('button, select, label, h1, h2, dd')]"
        ".filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)"
        ".map((e) => e.textContent.trim())"
    )
    assert cut == []
    line = await page_at_rest.evaluate("parseFloat(getComputedStyle(document.getElementById('roll-up')).lineHeight)")
    assert await page_at_rest.locator("#roll-up").evaluate("(e) => e.clientHeight") >= 2 * line - 1
    await spacing.evaluate("style => style.remove()")


async def test_every_control_can_be_hit(page_at_rest: Page) -> None:
    """WCAG 2.5.8: at least 24 by 24 pixels, in the narrowest window too."""
    await page_at_rest.set_viewport_size({"width": 320, "height": 640})
    small = await page_at_rest.evaluate(
        "[...document.querySelectorAll('button, select, input')].filter((e) => e.offsetParent)"
        ".filter((e) => Math.min(e.offsetWidth, e.offsetHeight) < 24).map((e) => e.id)"
    )
    assert small == []


async def test_every_control_shows_that_it_has_the_focus(page: Page) -> None:
    seen: list[str] = []
    while True:
        await page.keyboard.press("Tab")
        focused = await page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineWidth]"
        )
        if focused[0] in seen or not focused[0]:
            break
        assert focused[1] == "3px", focused[0]
        seen.append(focused[0])
    assert {"start-stop", "source", "language", "transcript", "announce", "present", "open-options"} <= set(seen)
