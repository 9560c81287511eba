"""Names of speakers: at the head of captions for the publisher, for readers, in overlays and in stored transcripts."""

import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import soundfile
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.reading import Publisher, expect_state, load_again, speaking
from tests.browser.support import Launch, Server, assert_accessible, emptied, microphone, serving
from tests.support.speech import pcm_s16le, sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

TALK_MS = 4200
"""Two people who share an utterance of this length speak for more than 1.5 s each, so both get numbers."""
ADA, BOB = "Are we complete now, all of us?", "Nearly all, but Bob is late today."
SAID = f"script: say {ADA} {BOB}; "
MARKUP = "<b>Ada</b> & Co"
LONG = "Dr. Bartholomäus Featherstonehaugh-Cholmondeley of the Municipal Waterworks Ltd."

NOTE_RENAMED = """() => {
  window.renamed = new Set();
  const log = document.getElementById('transcript');
  const note = (changes) => {
    const isRenamed = changes.some(({ target }) => target.matches('.speaker'));
    if (isRenamed) renamed.add(log.getAttribute('aria-live'));
  };
  new MutationObserver(note).observe(log, { childList: true, subtree: true });
}"""
"""A script that keeps whether other names of captions that are there are announced."""
IS_WITHIN_REACH = """button => {
  button.scrollIntoView({ block: 'center' });
  const { left, top, width, height } = button.getBoundingClientRect();
  const [x, y] = [left + width / 2, top + height / 2];
  const edges = [[0, -21], [0, 21], [-21, 0], [21, 0]];
  return edges.every(([dx, dy]) => document.elementFromPoint(x + dx, y + dy) === button);
}"""
"""A script that returns whether a finger reaches a button in 44 pixels."""
IS_TOO_WIDE = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
NOTE_MICROPHONES = """
window.microphones = [];
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wishes) => {
  const media = await open(wishes);
  microphones.push(media);
  return media;
};
"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    store = tmp_path_factory.mktemp("speakers") / "transcripts.db"
    script = ("--engine", "scripted", "--model", "voices ada bob", "--speakers", "--translate", "de")
    async with serving(*script, "--store", str(store)) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def talking_browser(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A browser whose user has allowed the microphone, and two people talk."""
    wav = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(wav, sound(f"silence 100ms, speech {TALK_MS}ms, silence 900ms"), 16_000, subtype="PCM_16")
    return await launch(*microphone(wav))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def profile_with_axe(talking_browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await talking_browser.new_context(
        bypass_csp=True, permissions=["microphone"], accept_downloads=True
    ) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def context(profile_with_axe: BrowserContext) -> AsyncIterator[BrowserContext]:
    async with emptied(profile_with_axe) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


def heads(page: Page, place: str = "#transcript") -> Locator:
    """Return the names that are shown in a place."""
    return page.locator(f"{place} .head:visible")


async def expect_heads(page: Page, names: list[str], place: str = "#transcript") -> None:
    await expect(heads(page, place)).to_have_text(names)


async def expect_words(page: Page, words: list[str], place: str = "#transcript p") -> None:
    await expect(page.locator(f"{place} .said > span")).to_have_text(words)


async def text_download(page: Page) -> str:
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Text").click()
    return (await (await download.value).path()).read_text()


def notes_of_starts(page: Page) -> list[dict[str, Any]]:
    """Return a list that gets each message which the page sends."""
    sent: list[dict[str, Any]] = []
    page.on(
        "websocket",
        lambda socket: socket.on(
            "framesent", lambda data: sent.append(json.loads(data)) if isinstance(data, str) else None
        ),
    )
    return sent


async def test_a_publisher_has_speakers_distinguished_and_names_them_for_everybody(
    server: Server, page: Page, context: BrowserContext
) -> None:
    await page.goto(server.url)
    switch = page.get_by_role("switch", name="Tell speakers apart")
    await expect(switch).not_to_be_checked()
    await switch.check()
    hint = page.locator("#speakers-hint")
    await expect(hint).to_contain_text("Tell the people in the room.")
    await page.locator("#event summary").click()
    await page.get_by_label("Number of speakers, if it is known").fill("2")
    await page.keyboard.press("Tab")
    await page.reload()
    await expect(switch).to_be_checked()
    sent = notes_of_starts(page)
    await page.get_by_role("button", name="Start captions").click()
    await expect_heads(page, ["Speaker 1", "Speaker 2"])
    assert sent[0]["speakers"] == 2
    await expect_heads(page, ["Speaker 1", "Speaker 2"], "#roll-up")

    reader = await context.new_page()
    session = await page.evaluate("JSON.parse(sessionStorage['livecaption.tab']).sessions.at(-1).id")
    await reader.goto(f"{server.url}watch/{session}")
    await reader.get_by_role("button", name="Options").click()
    await reader.get_by_label("Announce captions").check()
    await reader.keyboard.press("Escape")
    await expect(heads(reader).first).to_have_text("Speaker 1")
    await expect(reader.locator("button.speaker")).to_have_count(0)
    await reader.evaluate(NOTE_RENAMED)
    await page.bring_to_front()

    # By the keyboard alone. The name is text, even if it looks like HTML.
    name = page.get_by_role("button", name="Speaker 1").first
    await expect(name).to_have_attribute("title", "Give this speaker a name")
    assert await name.evaluate(IS_WITHIN_REACH)
    await name.focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Who is Speaker 1?")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await assert_accessible(page)
    await page.keyboard.type(MARKUP)
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)
    named = page.get_by_role("button", name=MARKUP, exact=True)
    await expect(named.first).to_be_focused()
    await expect(page.locator("#roll-up .speaker", has_text=MARKUP).first).to_be_visible()
    await expect(heads(reader).first).to_have_text(MARKUP)
    assert await reader.evaluate("[...renamed]") == ["off"]  # or all captions would be read out again
    await expect(reader.get_by_role("log")).to_have_attribute("aria-live", "polite")
    await assert_accessible(page)

    # Later captions have the name too, and so has the text.
    n_before = await heads(reader).count()
    await expect(heads(reader).nth(n_before + 1)).to_be_visible()
    assert set(await heads(reader).all_inner_texts()) == {MARKUP, "Speaker 2"}
    await page.get_by_role("button", name="Pause captions").click()
    await expect_state(page, "Paused")
    await expect(named.first).to_be_disabled()
    text = await text_download(page)
    assert text.startswith(f"{MARKUP}: One two")
    assert text.count(f"\n{MARKUP}: ") == text.count("\nSpeaker 2: ") - 1 > 0

    # The page that is loaded again has the names.
    await page.reload()
    await expect(heads(page).first).to_have_text(MARKUP)


async def say(publisher: Publisher, reader: Page, n_captions: int) -> None:
    """Say an utterance, and wait until the reader has it."""
    await publisher.say(TALK_MS)
    await expect(reader.locator("#transcript p")).to_have_count(n_captions)


async def test_readers_see_a_name_where_the_speaker_changes_and_marks_if_they_want(server: Server, page: Page) -> None:
    async with speaking(
        server, speakers=True, language="en", translate=["de"], prompt=f"{SAID}voices ada bob"
    ) as first:
        await page.set_viewport_size({"width": 320, "height": 640})
        await page.goto(first.page_of(server.url))
        await say(first, page, 2)
        await expect_heads(page, ["Speaker 1", "Speaker 2"])
        await expect_words(page, [ADA, BOB])
        marks = page.locator("#transcript p[data-look]")
        assert await marks.evaluate_all("marks => marks.map(({ dataset }) => dataset.look)") == ["1", "2"]
        await first.name(2, LONG)
        await expect_heads(page, ["Speaker 1", LONG])
        assert not await page.evaluate(IS_TOO_WIDE)
        await assert_accessible(page, schemes=("light", "dark", "forced"))
        await page.get_by_role("button", name="Options").click()
        await page.get_by_role("switch", name="Mark each speaker").uncheck()
        await page.keyboard.press("Escape")
        await expect(page.locator("#transcript .said").first).to_have_css("border-inline-start-width", "0px")

        # A translation is not cut, and nobody is named.
        await first.translation()
        await page.locator("#track").select_option("de")
        await expect_words(page, [f"de: {ADA} {BOB}"])
        await expect_heads(page, [])
        await page.locator("#track").select_option("")
        await expect_heads(page, ["Speaker 1", LONG])

        # The same people speak in an overlay, where there is little room for names.
        await page.set_viewport_size({"width": 1280, "height": 720})
        await page.goto(first.page_of(server.url, "?overlay=1"))
        await expect_state(page, "Live")
        await first.say(TALK_MS)
        await expect_heads(page, ["Speaker 1", LONG], "#roll-up")
        assert not await page.evaluate(IS_TOO_WIDE)
        width = await page.locator("#roll-up .speaker").last.evaluate("name => name.offsetWidth / innerWidth")
        assert width < 0.66
    async with speaking(server, speakers=True, prompt=f"{SAID}voices ada") as second:
        await page.goto(second.page_of(server.url))
        await say(second, page, 1)
        await say(second, page, 2)
        await expect_heads(page, ["Speaker 1"])  # not again, while the same one speaks
    async with speaking(server, speakers=True, prompt=f"{SAID}voices") as third:
        await page.goto(third.page_of(server.url))
        await say(third, page, 1)
        await expect_heads(page, [])  # nobody is certain
    async with speaking(server, speakers=1, prompt=f"{SAID}voices ada bob") as fourth:
        await page.goto(fourth.page_of(server.url))
        await say(fourth, page, 2)
        # Without a name, the words of nobody would look like those of the person before.
        await expect_heads(page, ["Speaker 1", "Speaker ?"])


async def test_where_each_speaker_has_a_channel_its_label_is_the_name(server: Server, page: Page) -> None:
    both = pcm_s16le(np.stack((sound("speech 900ms, silence 1500ms"), sound("speech 900ms, silence 1500ms")), axis=1))
    async with speaking(server, speakers=True, channels=2, channel_mode="separate") as publisher:
        await page.goto(publisher.page_of(server.url))
        await publisher.send(both)
        await expect(heads(page)).to_have_count(2)
        assert set(await heads(page).all_inner_texts()) == {"Speaker 1", "Speaker 2"}
        await expect(page.locator("#roll-up .channel")).to_have_count(2)
        labels = await page.locator("#roll-up .channel").all_text_contents()
        assert set(labels) == {"Speaker 1", "Speaker 2"}
        await publisher.name(2, "Bob")
        await expect(page.locator("#roll-up .channel", has_text="Bob")).to_have_count(1)


async def test_a_stored_transcript_has_names_that_can_be_changed_later(server: Server, page: Page) -> None:
    async with speaking(server, speakers=True, title="Council", prompt=f"{SAID}voices ada bob") as publisher:
        await publisher.say(TALK_MS)
        await publisher.name(1, "Ada")
        await publisher.stop()
    await page.goto(f"{server.url}sessions")
    await page.get_by_role("button", name="Council").click()
    await expect_heads(page, ["Ada", "Speaker 2"], "#captions")
    await expect_words(page, [ADA, BOB], "#captions li")
    await assert_accessible(page)
    await page.get_by_role("button", name="Speaker 2").click()
    dialog = page.get_by_role("dialog", name="Who is Speaker 2?")
    await dialog.get_by_label("Name").fill("Bob\u202e")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.locator("#state")).to_contain_text("This cannot be a name.")
    await page.get_by_role("button", name="Speaker 2").click()
    await dialog.get_by_label("Name").fill("Bob")
    await dialog.get_by_role("button", name="Save").click()
    await expect_heads(page, ["Ada", "Bob"], "#captions")
    await page.get_by_role("button", name="Council").click()
    await expect_heads(page, ["Ada", "Bob"], "#captions")


@pytest_asyncio.fixture(loop_scope="session")
async def short_talk(speaking_browser: Browser) -> AsyncIterator[Page]:
    """A page whose microphones have short utterances."""
    async with await speaking_browser.new_context(bypass_csp=True, permissions=["microphone"]) as context:
        yield await context.new_page()


async def test_two_sounds_are_captioned_apart_and_one_goes_on_without_the_other(
    scripted_server: Server, short_talk: Page
) -> None:
    """The server distinguishes no voices, and need not: each sound is a speaker."""
    page = short_talk
    await page.add_init_script(NOTE_MICROPHONES)
    await page.goto(scripted_server.url)
    switch = page.get_by_role("switch", name="Tell speakers apart")
    await expect(page.locator("#model")).to_contain_text("scripted")
    await expect(switch).to_be_hidden()
    await page.get_by_role("button", name="Options").click()
    await page.locator("#second-source").select_option("")
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await switch.check()
    await expect(page.locator("#speakers-hint")).to_contain_text("Each of the two sounds is a speaker.")
    sent = notes_of_starts(page)
    await page.get_by_role("button", name="Start captions").click()
    await expect(heads(page).nth(1)).to_be_visible()
    assert set(await heads(page).all_inner_texts()) == {"Speaker 1", "Speaker 2"}
    start = sent[0]
    assert (start["channels"], start["channel_mode"], start["speakers"]) == (2, "separate", True)
    for meter in ("Level", "Level of the second sound"):
        await expect(page.get_by_role("meter", name=meter, exact=True)).not_to_have_attribute("aria-valuenow", "-60")
    session = await page.evaluate("JSON.parse(sessionStorage['livecaption.tab']).running.ready.session")

    # Loaded again, the page goes on with the session and both of its sounds.
    await load_again(page)
    assert await page.evaluate("JSON.parse(sessionStorage['livecaption.tab']).running.ready.session") == session
    before = await page.locator("#transcript p").count()
    await expect(page.locator("#transcript p").nth(before + 1)).to_be_visible()

    await page.evaluate("microphones[1].getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    await expect(page.get_by_role("heading", name="One of the two sounds has ended")).to_be_visible()
    await assert_accessible(page)
    second_meter = page.get_by_role("meter", name="Level of the second sound")
    await expect(second_meter).to_have_attribute("aria-valuenow", "-60")
    await expect_state(page, "Live")
    before = await page.locator("#transcript p").count()
    await expect(page.locator("#transcript p").nth(before + 2)).to_be_visible()
    speakers = await page.locator("#transcript p").evaluate_all(
        "entries => entries.slice(-2).map(({ dataset }) => dataset.look)"
    )
    assert speakers == ["1", "1"]
