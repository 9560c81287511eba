"""The pages are in the reader's language: the catalogues in Chromium, with the languages that a browser asks for."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.browser.reading import put, speaking
from tests.browser.support import ROOT, Launch, Serve, Server, assert_accessible
from tests.test_languages import is_translated

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATIC = ROOT / "static"
GERMAN: dict[str, str] = json.loads((STATIC / "languages" / "de.json").read_text())

# All texts of a page, also of what is hidden now. Languages have their own names, microphones too.
TEXTS = """() => {
    const attributes = ["alt", "aria-label", "aria-valuetext", "placeholder", "title"];
    const texts = [document.title];
    const others = "#language *, #source *, #second-source *, option[lang]";
    for (const element of document.body.querySelectorAll(`*:not(${others})`)) {
        texts.push(...attributes.map((name) => element.getAttribute(name) ?? ""));
        for (const node of element.childNodes) if (node instanceof Text) texts.push(node.data);
    }
    return texts.map((text) => text.replace(/\\s+/g, " ").trim());
}"""

# What reaches beyond the sides of the window.
OUTSIDE = """() => [...document.querySelectorAll("body *")]
    .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest("svg"))
    .filter((element) => {
        const { left, right } = element.getBoundingClientRect();
        return left < -1 || right > document.documentElement.clientWidth + 1;
    })
    .map((element) => element.outerHTML.slice(0, 200))
"""

# Those whose words do not begin at the right. In the middle is as good.
NOT_AT_THE_RIGHT = """(places) => places.filter((place) => {
    const element = document.querySelector(place);
    const range = document.createRange();
    range.selectNodeContents(element);
    const words = range.getBoundingClientRect();
    const room = element.closest("main > *, dialog, header").getBoundingClientRect();
    return !(words.width > 0 && room.right - words.right <= words.left - room.left + 1);
})"""

NOTICE = """async (words) => {
    const { Notices } = await import("/static/notices.js");
    new Notices(document.getElementById("notice")).show("network", words);
}"""

InLanguage = Callable[..., Awaitable[BrowserContext]]


@pytest_asyncio.fixture(loop_scope="session")
async def in_language(launch: Launch) -> AsyncIterator[InLanguage]:
    """Make a profile that asks for a language, perhaps with a catalogue of the test's own."""
    browser = await launch()
    async with AsyncExitStack() as stack:

        async def profile(code: str, catalogue: str | None = None) -> BrowserContext:
            context = await stack.enter_async_context(await browser.new_context(locale=code))
            if catalogue is not None:
                await context.route(f"**/languages/{code}.json", lambda route: route.fulfill(body=catalogue))
                await context.route("**/static/language.js", lambda route: _with_language(route, code))
            return context

        yield profile


async def opened(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url)
    await expect(page.locator("html")).to_have_attribute("data-translated", "")
    return page


async def _with_language(route: Route, code: str) -> None:
    script = (STATIC / "language.js").read_text()
    changed = script.replace("TRANSLATED = [", f'TRANSLATED = ["{code}", ', 1)
    assert changed != script
    await route.fulfill(body=changed, content_type="text/javascript")


async def _of_one_language(route: Route) -> None:
    """Let the page show a model that supports English alone, which it names."""
    answer = await route.fetch()
    model = {"name": "tiny.en", "languages": ["en"]}
    await route.fulfill(response=answer, json={**await answer.json(), "model": model})


def not_in(catalogue: dict[str, str], texts: list[str]) -> list[str]:
    """Return those texts that are none of the translations, although they need one."""
    parts = [part for words in catalogue.values() for part in re.split(r"</?\d>", words)]
    known = [re.sub(r"\\\{\w+\\\}", ".+", re.escape(part.strip())) for part in parts if part.strip()]
    # A figure with its unit is the same in all languages.
    pattern = re.compile("|".join([*known, r"[\d.,]+ \w{1,3}"]))
    return [text for text in texts if is_translated(text) and not pattern.fullmatch(text)]


async def test_every_text_of_the_pages_is_in_the_language_of_the_browser(serve: Serve, in_language: InLanguage) -> None:
    """The server is new: codes of refusals are the same in all languages."""
    server = await serve("--engine", "scripted")
    austrian = await in_language("de-AT")
    await austrian.route("**/v1/info", _of_one_language)
    for path, words in (
        ("", "Untertitel starten"),
        ("watch/hall", "Unter diesem Link gibt es keine Untertitel"),
        ("sessions", "Transkripte"),
        ("stats", "Offene Übertragungen"),
    ):
        page = await opened(austrian, server.url + path)
        await expect(page.locator("html")).to_have_attribute("lang", "de")
        await expect(page.get_by_text(words).first).to_be_visible()
        assert not_in(GERMAN, await page.evaluate(TEXTS)) == [], path
        if path == "":
            await expect(page.get_by_text("Modell tiny.en")).to_be_visible()
            sentence = "import('/static/words.js').then(({ otherLanguageWords }) => otherLanguageWords('en'))"
            assert (await page.evaluate(sentence)).startswith("Ist das Englisch?")
        await page.close()


async def test_a_language_without_a_catalogue_leaves_english_until_another_is_chosen(
    scripted_server: Server, in_language: InLanguage
) -> None:
    page = await opened(await in_language("fi-FI"), scripted_server.url + "watch/hall")
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await expect(page.get_by_text("There are no captions at this link")).to_be_visible()
    await page.get_by_role("button", name="Options").click()
    await page.get_by_label("Language of this page").select_option("Deutsch")
    await expect(page.get_by_text("Unter diesem Link gibt es keine Untertitel")).to_be_visible()
    await expect(page.locator("html")).to_have_attribute("lang", "de")


async def test_a_broken_catalogue_leaves_english(scripted_server: Server, in_language: InLanguage) -> None:
    page = await opened(await in_language("it", catalogue="{"), scripted_server.url + "watch/hall")
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await expect(page.get_by_role("button", name="Options")).to_be_visible()


async def test_a_text_that_a_catalogue_lacks_stays_english(scripted_server: Server, in_language: InLanguage) -> None:
    page = await opened(await in_language("nl", catalogue=json.dumps({"Options": "Opties"})), scripted_server.url)
    await expect(page.locator("html")).to_have_attribute("lang", "nl")
    await expect(page.get_by_role("button", name="Opties")).to_be_visible()
    await expect(page.get_by_role("button", name="Start captions")).to_be_visible()


async def test_a_language_from_right_to_left_mirrors_the_pages(
    scripted_server: Server, in_language: InLanguage
) -> None:
    # Each letter is an Arabic one, apart from those of values and marks.
    arabic = {text: re.sub(r"[^\W\d_](?![^{]*\})", "\u0645", text) for text in GERMAN}
    context = await in_language("ar", catalogue=json.dumps(arabic))
    room = f"rtl-{uuid.uuid4().hex[:8]}"
    await put(scripted_server, room, title="\u0645\u0624\u062a\u0645\u0631")
    for _ in range(2):
        async with speaking(
            scripted_server, room=room, prompt="script: say \u0645\u0631\u062d\u0628\u0627"
        ) as publisher:
            await publisher.say()
            await publisher.stop()
    for path in ("", f"watch/{room}", "watch/hall", "sessions"):
        page = await opened(context, scripted_server.url + path)
        await expect(page.locator("html")).to_have_attribute("dir", "rtl")
        at_the_right = []
        if path == "":
            await page.route("**/v1/stream*", lambda route: route.abort())
            await page.locator("#start-stop").click()
            await expect(page.locator("#problem h2")).to_be_visible()
            await page.evaluate(NOTICE, arabic["The server restarts. Captions go on by themselves."])
            at_the_right = ["#problem h2", "#problem p", "#notice p", "#keeping", "#event-summary", "#record-title"]
        elif room in path:
            await expect(page.locator("#transcript p")).to_have_count(2)
            at_the_right = ["#title", "#notice-title", "#notice-text", "#transcript h2", "#transcript p span"]
        for width in (390, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate(OUTSIDE) == [], (path, width)
            assert await page.evaluate(NOT_AT_THE_RIGHT, at_the_right) == [], (path, width)
        title, state = [await page.locator(place).bounding_box() for place in ("h1", "#state")]
        assert title is not None
        assert state is not None
        assert title["x"] > state["x"]
        if path == "":
            await page.locator("#open-options").click()
            assert await page.evaluate(NOT_AT_THE_RIGHT, ["#options-title", "#options legend"]) == []
            await assert_accessible(page, ("light",))
        await page.close()


async def test_the_first_wish_that_there_is_counts(module_page: Page) -> None:
    choose = """async (wishes) => {
        const { chooseLanguage } = await import("/language.js");
        return chooseLanguage(wishes, ["de", "pt", "pt-BR"]);
    }"""
    for wishes, language in (
        (["de"], "de"),
        (["de-AT", "en"], "de"),
        (["fi", "de", "en"], "de"),
        (["en-GB", "de"], "en"),
        (["pt-BR", "de"], "pt-BR"),
        (["pt-PT"], "pt"),
        (["fi"], "en"),
        ([], "en"),
    ):
        assert await module_page.evaluate(choose, wishes) == language
