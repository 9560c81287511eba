"""Captions in the reader's own language, on the speaker's page and on the readers' page."""

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route, WebSocket, expect

from tests.browser.reading import Publisher, expect_lines, expect_state, speaking
from tests.browser.support import Server, assert_accessible, emptied, serving
from tests.browser.test_watch_page import FORGET
from tests.support.relay import relay_to

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NOTE_PARTIALS = """() => {
  window.partials = [];
  const note = () => {
    const words = document.querySelector('#roll-up .tentative:not(:empty)');
    if (words) partials.push(words.textContent);
  };
  new MutationObserver(note).observe(document.getElementById('roll-up'), { childList: true, subtree: true });
}"""
"""A script that keeps all words in the live lines that may still change."""

NOTE_ANNOUNCED = """() => {
  window.announced = [];
  const log = document.getElementById('transcript');
  const note = () => announced.push(log.getAttribute('aria-live'));
  new MutationObserver(note).observe(log, { childList: true, subtree: true });
}"""
"""A script that keeps how the changes of the transcript are announced."""

PHONE = {"width": 390, "height": 844}
SLOW = "script: translation-only delay 3"
"""Translations come after their originals were shown, also on a busy machine."""
FAILING = "script: translation-only fail"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    store = tmp_path_factory.mktemp("tracks") / "transcripts.db"
    async with serving("--engine", "scripted", "--translate", "de,en", "--store", str(store)) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def profile_with_axe(speaking_browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await speaking_browser.new_context(
        bypass_csp=True, permissions=["microphone"], accept_downloads=True
    ) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def page(profile_with_axe: BrowserContext) -> AsyncIterator[Page]:
    async with emptied(profile_with_axe):
        page = await profile_with_axe.new_page()
        await page.set_viewport_size(PHONE)
        yield page


async def choose_with_keys(page: Page, key: str) -> None:
    """Go to the list of languages and press a key there, as people without a mouse do."""
    await page.locator("#track").focus()
    await page.keyboard.press(key)


async def announce(page: Page) -> None:
    """Have screen readers announce captions."""
    await page.get_by_role("button", name="Options").click()
    await page.get_by_label("Announce captions").check()
    await page.keyboard.press("Escape")


async def expect_words(page: Page, text: str, language: str, *, original: bool = False) -> None:
    """Wait until the newest caption of the transcript is this, marked with its language."""
    words = page.locator("#transcript p span").last
    await expect(words).to_have_text(text)
    await expect(words).to_have_attribute("lang", language)
    await expect(words).to_have_class("original" if original else "")


async def watch(page: Page, server: Server, publisher: Publisher, query: str = "") -> None:
    await page.goto(publisher.page_of(server.url, query))
    await expect_state(page, "Live")


async def test_a_reader_chooses_a_language_and_keeps_it(server: Server, page: Page) -> None:
    async with speaking(server, language="fr", translate=["de"], room="tracks") as publisher:
        first = await publisher.say(900)
        await watch(page, server, publisher)
        await expect_words(page, first, "fr")
        await expect(page.get_by_role("combobox", name="Language of the captions")).to_have_value("")
        await choose_with_keys(page, "d")  # Deutsch
        await expect_words(page, f"de: {first}", "de")
        assert page.url.endswith("/watch/tracks?track=de")
        await assert_accessible(page)
        second = await publisher.say(1500)
        await expect_lines(page, [f"de: {first}", f"de: {second}"])

        await page.reload()
        await expect_lines(page, [f"de: {first}", f"de: {second}"])
        await page.goto(publisher.page_of(server.url))  # without the language in the address
        await expect_lines(page, [f"de: {first}", f"de: {second}"])
        await page.get_by_role("button", name="Downloads").click()
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Text", exact=True).click()
        text = (await (await download.value).path()).read_text()
        assert " ".join(text.split()) == f"de: {first} de: {second}"  # a paragraph each, if there was a long pause
        await page.keyboard.press("Escape")

        await announce(page)
        await page.evaluate(NOTE_ANNOUNCED)
        await choose_with_keys(page, "O")  # Original
        await expect_lines(page, [first, second])
        await expect_words(page, second, "fr")
        assert page.url.endswith("/watch/tracks")
        assert set(await page.evaluate("announced")) == {"off"}  # or all captions would be read out
        await expect(page.get_by_role("log")).to_have_attribute("aria-live", "polite")


async def test_the_original_stands_where_a_translation_has_not_come_or_never_will(server: Server, page: Page) -> None:
    entry = page.locator("#transcript p").last
    async with speaking(server, language="fr", translate=["de"], prompt=SLOW) as publisher:
        await watch(page, server, publisher, "?track=de")
        await announce(page)
        said = await publisher.say(900)
        await expect_words(page, said, "fr", original=True)
        await expect(entry).to_have_attribute("aria-hidden", "true")  # only the translation is announced
        await assert_accessible(page)
        await expect_words(page, f"de: {said}", "de")
        await expect(entry).not_to_have_attribute("aria-hidden", "true")
        await page.evaluate(NOTE_PARTIALS)
        said = await publisher.say(2400)
        await expect_words(page, f"de: {said}", "de")
        assert await page.evaluate("partials") == []  # which are not translated
    async with speaking(server, language="fr", translate=["de"], prompt=FAILING) as publisher:
        await page.clock.install()
        await watch(page, server, publisher, "?track=de")
        said = [await publisher.say(900), await publisher.say(600)]
        await expect_lines(page, said)
        await expect_words(page, said[-1], "fr", original=True)
        await expect(entry).to_have_attribute("aria-hidden", "true")
        await page.clock.fast_forward(10_000)
        await expect(entry).not_to_have_attribute("aria-hidden", "true")


async def test_translations_that_came_while_the_network_was_broken_are_shown(server: Server, page: Page) -> None:
    """The server sends everything again, with more translations than the page has."""
    await page.add_init_script(FORGET)
    async with (
        relay_to(server.url) as relay,
        speaking(server, language="fr", translate=["de"], prompt=SLOW) as publisher,
    ):
        await page.goto(publisher.page_of(relay.url, "?track=de"))
        await expect_state(page, "Live")
        said = await publisher.say(900)
        await expect_words(page, said, "fr", original=True)
        relay.cut()
        await expect_state(page, "Reconnecting")
        assert (await publisher.translation()).text == f"de: {said}"
        relay.up = True
        await expect_lines(page, [f"de: {said}"])
        await expect_words(page, f"de: {said}", "de")
        await expect(page.locator("#roll-up p")).to_have_text([f"de: {said}"])


async def test_readers_who_stay_are_not_offered_the_languages_of_a_forgotten_event(module_page: Page) -> None:
    assert not await module_page.evaluate(
        """async () => {
          const { Reading } = await import('/reading.js');
          const reading = new Reading();
          reading.begin({ session: 'forgotten', finals: [], tracks: ['de'] });
          reading.keep(new Set(['next']));
          reading.begin({ session: 'next', finals: [], tracks: [] });
          return reading.tracks;
        }"""
    )


async def with_an_untranslated_caption(route: Route) -> None:
    """Answer with a transcript whose last caption has no translation."""
    response = await route.fetch()
    transcript = await response.json()
    del transcript["captions"][-1]["translations"]
    await route.fulfill(response=response, json=transcript)


async def test_a_kept_transcript_is_read_and_downloaded_in_a_language(server: Server, page: Page) -> None:
    """A caption without a translation is marked."""
    async with speaking(server, language="fr", translate=["de"], title="Bonjour") as publisher:
        said = [await publisher.say(900), await publisher.say(600)]
        await publisher.translation()
        await publisher.translation()
        await publisher.stop()
    await page.route("**/transcript.json", with_an_untranslated_caption)
    await page.goto(f"{server.url}sessions")
    await page.get_by_role("button", name="Bonjour").click()
    words = page.locator("#captions li span")
    await expect(words).to_have_text(said)
    await choose_with_keys(page, "d")  # Deutsch
    await expect(words).to_have_text([f"de: {said[0]}", said[1]])
    await expect(words.first).to_have_attribute("lang", "de")
    await expect(words).to_have_class(["", "original"])
    await assert_accessible(page)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="SRT").click()
    assert f"de: {said[0]}" in (await (await download.value).path()).read_text()


async def test_a_room_without_a_translation_offers_no_languages(server: Server, page: Page) -> None:
    async with speaking(server, language="fr") as publisher:
        await watch(page, server, publisher, "?track=de")
        said = await publisher.say(900)
        await expect_words(page, said, "fr")
        await expect(page.locator("#track")).to_be_hidden()


async def test_an_overlay_has_the_language_of_its_address(server: Server, page: Page) -> None:
    async with speaking(server, language="fr", translate=["de"]) as publisher:
        await page.goto(publisher.page_of(server.url, "?overlay=1&track=de"))
        await expect(page.locator("#state")).to_contain_text("Live")
        said = await publisher.say(900)
        line = page.locator("#roll-up p")
        await expect(line).to_have_text(f"de: {said}")
        await expect(line).to_have_attribute("lang", "de")
        await expect(line).not_to_have_class(re.compile("original"))
        await expect(page.locator("#track")).to_be_hidden()


async def test_a_speaker_switches_languages_for_readers_on_and_the_browser_keeps_them(
    server: Server, page: Page
) -> None:
    await page.goto(server.url)
    german = page.get_by_role("switch", name="Also in German")
    await expect(page.get_by_role("switch", name="Also in English")).not_to_be_checked()
    await german.focus()
    await page.keyboard.press("Space")
    await expect(german).to_be_checked()
    await assert_accessible(page)
    await page.reload()
    await expect(german).to_be_checked()
    sent: list[str] = []

    def note(socket: WebSocket) -> None:
        socket.on("framesent", lambda data: sent.append(data) if isinstance(data, str) else None)

    page.on("websocket", note)
    await page.get_by_role("button", name="Start captions").click()
    await expect(page.locator("#state")).to_have_text("Live")
    assert json.loads(sent[0])["translate"] == ["de"]
