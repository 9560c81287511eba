"""The demo page in a real browser, with a real server, a real model and a recording for a microphone."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import pytest_asyncio
import soundfile
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from livecaption.evaluation.wer import word_error_rate
from livecaption.keys import Key, Role, as_toml, hash_of
from livecaption.server.addresses import interfaces, reachable
from tests.browser.support import Launch, Profile, Serve, Server, drawn, emptied, microphone
from tests.support.streaming import JFK

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# With this the recording is a single utterance.
ONE_UTTERANCE = ("--silence", "1500")
SCRIPTED = ("--engine", "scripted")
SENTENCE = "And so, my fellow Americans, ask not what your country can do for you."
SENTENCE_S = 7.8

# What a first final may take: the model's loading, 8 s of speech, a busy machine.

# A user who shares a tab when asked for one, and refuses the microphone.
SHARES_ALONE = (
    "--use-fake-device-for-media-stream",
    "--deny-permission-prompts",
    "--auto-select-tab-capture-source-by-title=The talk",
)

OpenPage = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def context(speaking_browser: Browser, profile: Profile) -> AsyncIterator[BrowserContext]:
    async with emptied(await profile(speaking_browser)) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(context: BrowserContext) -> AsyncIterator[OpenPage]:
    """Open the page at an address, in the speaking browser or in another profile.

    When the test ends, the browser's console must be clean.
    """
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # Browsers log every answer above 399, such as 426 and 503 when the page asks whether a stream would be taken.
        asked = "/v1/stream" in message.location["url"] and message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not asked:
            complaints.append(message.text)

    async def opened(url: str, profile: BrowserContext = context) -> Page:
        page = await profile.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        return page

    yield opened
    assert complaints == []


async def press_start(page: Page) -> None:
    await page.get_by_role("button", name="Start captions").click()


def words(text: str) -> str:
    """Return the words in lower case, without punctuation and line breaks."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


async def downloaded(page: Page, button: str) -> tuple[str, str]:
    """Press a download button; the file's name and text."""
    async with page.expect_download() as download:
        await page.get_by_role("button", name=button).click()
    path = await (await download.value).path()
    return (await download.value).suggested_filename, path.read_text(encoding="utf-8")


@pytest_asyncio.fixture(loop_scope="session")
async def president(launch: Launch, tmp_path: Path) -> AsyncIterator[BrowserContext]:
    """A profile in a browser whose microphone plays a sentence of 8 s, and then silence."""
    samples, sample_rate_hz = soundfile.read(JFK)
    samples = np.concatenate([samples[: int(SENTENCE_S * sample_rate_hz)], np.zeros(20 * sample_rate_hz)])
    wav = tmp_path / "jfk.wav"
    soundfile.write(wav, samples, sample_rate_hz, subtype="PCM_16")
    async with await (await launch(*microphone(wav))).new_context() as context:
        yield context


async def test_speech_becomes_captions_and_files(
    server: Server, president: BrowserContext, open_page: OpenPage
) -> None:
    """They appear while somebody speaks, then in the transcript, then in files of three formats."""
    page = await open_page(server.url, president)
    await press_start(page)

    await expect(page.locator("#state")).to_have_text("Live")
    await expect(page.locator("#roll-up .stable")).to_have_text(re.compile(r"\w"))
    await expect(page.locator("#roll-up .tentative")).to_have_text(re.compile(r"\w"))
    await expect(page.locator("#transcript p")).to_have_count(0)

    await expect(page.locator("#transcript p")).not_to_have_count(0)
    assert_is_the_sentence(await page.locator("#transcript p").inner_text())
    await expect(page.locator("#latency")).to_have_text(re.compile(r"^\d+\.\d s$"))
    await expect(page.locator(".figures dt")).to_have_text(["Time", "Delay", "Usual delay"])
    await expect(page.locator("#latency-median")).to_have_text(re.compile(r"^\d+\.\d s$"))
    await expect(page.locator("#transcript p span").first).to_have_attribute("lang", "en")

    for button, extension in [("Download VTT", "vtt"), ("Download SRT", "srt"), ("Download Text", "txt")]:
        name, text = await downloaded(page, button)
        assert re.fullmatch(rf"captions-\d{{4}}-\d\d-\d\d-\d{{4}}\.{extension}", name)
        assert_is_the_sentence(re.sub(r"^(WEBVTT|\d.*)$", "", text, flags=re.MULTILINE))
        if extension == "vtt":
            assert_well_formed(text)


@pytest.fixture(scope="module")
def opposite_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, sample_rate_hz = soundfile.read(JFK)
    path = tmp_path_factory.mktemp("microphone") / "opposite.wav"
    soundfile.write(path, np.stack([samples, -samples], axis=1), sample_rate_hz, subtype="PCM_16")
    return path


async def test_a_microphone_whose_channels_cancel_each_other_is_captioned(
    launch: Launch, scripted_server: Server, opposite_wav: Path
) -> None:
    """A plug that is wired the wrong way round. A browser that mixes down by itself gives silence."""
    browser = await launch(*microphone(opposite_wav))
    async with await browser.new_page() as page:
        await page.goto(scripted_server.url)
        choice = {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False}
        await page.evaluate("(choice) => localStorage.setItem('livecaption.settings', JSON.stringify(choice))", choice)
        await page.reload()
        await press_start(page)
        await expect(page.locator("#roll-up")).to_have_text(re.compile(r"\w"))


def assert_is_the_sentence(caption: str) -> None:
    """Two words may differ: what tiny.en makes of `ask` depends on the processor, and a busy browser loses sound."""
    rate = word_error_rate([SENTENCE], [re.sub(r"\d+:\d\d", "", caption)]).rate
    assert rate is not None
    assert rate <= 0.15, caption


def assert_well_formed(vtt: str) -> None:
    header, *cues = vtt.removesuffix("\n").split("\n\n")
    assert header == "WEBVTT"
    last_end = ""
    for cue in cues:
        times, *lines = cue.split("\n")
        match = re.fullmatch(r"(\d\d:\d\d:\d\d\.\d{3}) --> (\d\d:\d\d:\d\d\.\d{3})", times)
        assert match, times
        start, end = match.groups()
        assert last_end <= start < end
        assert 1 <= len(lines) <= 2
        assert max(map(len, lines)) <= 37
        last_end = end


async def begin_to_speak(page: Page, button: str = "Start captions", n_before: int = 0) -> str:
    """Press the button, and return committed words of an utterance that is open behind so many lines."""
    await page.get_by_role("button", name=button).click()
    await expect(page.locator("#roll-up p")).to_have_count(n_before + 1)
    stable = page.locator("#roll-up .stable").last
    await expect(stable).to_have_text(re.compile(r"\w+ \w+"))
    await expect(page.locator("#transcript p")).to_have_count(n_before)
    return words(await stable.inner_text())


async def test_the_last_caption_comes_when_a_sentence_is_cut_off_by_a_pause_or_the_end_of_the_server(
    serve: Serve, context: BrowserContext
) -> None:
    """And the page does not show a stopped server as still stopping."""
    server = await serve(*SCRIPTED, *ONE_UTTERANCE)
    page = await context.new_page()
    await page.goto(server.url)
    committed = await begin_to_speak(page)

    await page.get_by_role("button", name="Pause captions").click()
    await expect(page.locator("#state")).to_have_text("Paused")
    await expect(page.locator("#transcript p")).to_have_count(1)
    assert committed in words(await page.locator("#transcript").inner_text())
    await expect(page.locator("#roll-up .tentative")).to_have_text("")
    await expect(page.get_by_role("button", name="Continue captions")).to_be_visible()

    await page.evaluate(
        """() => {
          const notice = document.getElementById('notice');
          window.notices = [];
          new MutationObserver(() => window.notices.push(notice.textContent)).observe(notice, { childList: true });
        }"""
    )
    committed = await begin_to_speak(page, "Continue captions", n_before=1)
    server.terminate()
    await expect(page.locator("#state")).to_have_text("Reconnecting")
    assert committed in words(await page.locator("#transcript p").last.inner_text())
    await expect(page.locator("#roll-up .tentative").last).to_have_text("")
    await expect(page.locator("#notice")).to_have_text(
        "The server does not take the sound now. Captions go on by themselves once it does."
    )
    assert "The server is being stopped." in " ".join(await page.evaluate("notices"))


async def test_the_level_follows_the_sound_in_a_test_of_the_microphone_and_in_captions(
    scripted_server: Server, open_page: OpenPage
) -> None:
    """-60 dB in the silence before and after, far above it in speech; it moves while somebody speaks."""
    page = await open_page(scripted_server.url)
    meter, state = page.get_by_role("meter", name="Level"), page.locator("#state")
    await expect(meter).to_have_attribute("aria-valuenow", "-60")
    await page.get_by_role("button", name="Test microphone").click()
    await expect(meter).not_to_have_attribute("aria-valuenow", "-60")
    await expect(state).to_have_text("Ready")
    await page.get_by_role("button", name="Stop the test").click()
    await expect(meter).to_have_attribute("aria-valuenow", "-60")
    await page.get_by_role("button", name="Test microphone").click()
    await expect(meter).not_to_have_attribute("aria-valuenow", "-60")
    await press_start(page)
    await expect(state).to_have_text("Live")
    await expect(page.get_by_role("button", name=re.compile("test", re.I))).to_be_hidden()
    levels: set[int] = set()
    while len(levels) < 4 or max(levels) <= -30:
        before = await meter.get_attribute("aria-valuenow")
        await expect(meter).not_to_have_attribute("aria-valuenow", before or "")
        levels.add(int(await meter.get_attribute("aria-valuenow") or ""))
    assert all(-60 <= level <= 0 for level in levels)
    await page.get_by_role("button", name="Pause captions").click()
    await expect(state).to_have_text("Paused")
    await expect(meter).to_have_attribute("aria-valuenow", "-60")


async def test_keyboard_alone_starts_and_pauses(scripted_server: Server, open_page: OpenPage) -> None:
    """Space works without any focus; so do Tab to the button and Enter. A key that is held is pressed once."""
    page = await open_page(scripted_server.url)
    state = page.locator("#state")
    await page.keyboard.down("Space")
    await expect(state).to_have_text("Live")
    await page.keyboard.down("Space")
    assert await state.inner_text() == "Live"
    await page.keyboard.up("Space")
    await page.keyboard.press("Space")
    await expect(state).to_have_text("Paused")

    while await page.evaluate("document.activeElement.id") != "start-stop":
        await page.keyboard.press("Tab")
    await page.keyboard.down("Enter")
    await expect(state).to_have_text("Live")
    await page.keyboard.down("Enter")
    assert await state.inner_text() == "Live"
    await page.keyboard.up("Enter")
    await page.keyboard.press("Enter")
    await expect(state).to_have_text("Paused")


async def test_captions_are_announced_only_when_asked_and_that_and_the_appearance_are_remembered(
    scripted_server: Server, open_page: OpenPage
) -> None:
    """Space on the switch does not start captions."""
    page = await open_page(scripted_server.url)
    log, announce = page.get_by_role("log", name="Transcript"), page.get_by_label("Announce captions")
    await expect(log).to_have_attribute("aria-live", "off")
    await announce.focus()
    await page.keyboard.press("Space")
    await expect(announce).to_be_checked()
    await expect(page.locator("#state")).to_have_text("Ready")
    await expect(log).to_have_attribute("aria-live", "polite")
    larger = page.get_by_role("button", name="Larger captions")
    await larger.click()
    await larger.evaluate("button => { for (let n = 0; n < 11; n += 1) button.click() }")
    await page.get_by_role("button", name="Options").click()
    await page.get_by_role("combobox", name="Captions").select_option("yellow-on-black")
    await page.get_by_role("button", name="Done").click()
    await page.reload()
    await expect(log).to_have_attribute("aria-live", "polite")
    await expect(page.locator("#caption-size")).to_have_text("200 %")
    await expect(page.locator("#stage")).to_have_css("background-color", "rgb(0, 0, 0)")
    await expect(page.locator("#stage")).to_have_css("color", "rgb(255, 230, 0)")


async def test_the_page_shows_that_the_server_does_not_answer(serve: Serve, context: BrowserContext) -> None:
    server = await serve(*SCRIPTED)
    page = await context.new_page()
    await page.goto(server.url)
    server.terminate()
    await server.process.wait()
    await press_start(page)
    await expect(page.get_by_role("alert")).to_contain_text("The server does not answer")


async def test_a_lost_connection_keeps_the_captions_and_the_speaker_can_pause(
    serve: Serve, context: BrowserContext
) -> None:
    """The page gives up the session when the server would have given up waiting, and waits for the server."""
    server = await serve(*SCRIPTED, "--resume-window", "0.5")
    page = await context.new_page()
    await page.goto(server.url)
    await press_start(page)
    await expect(page.locator("#transcript p")).not_to_have_count(0)
    server.process.kill()
    await expect(page.locator("#notice")).to_contain_text("Captions go on by themselves once it does.")
    await expect(page.locator("#state")).to_have_text("Reconnecting")
    await expect(page.locator("#transcript p")).not_to_have_count(0)
    await page.get_by_role("button", name="Pause captions").click()
    await expect(page.locator("#state")).to_have_text("Paused")
    await expect(page.get_by_role("button", name="Continue captions")).to_be_visible()


async def test_a_loading_server_is_asked_again_after_the_time_it_names(
    scripted_server: Server, open_page: OpenPage
) -> None:
    """The first answer is made up, because a real server may be ready too soon. The others are real."""
    page = await open_page(scripted_server.url)
    await page.route(
        "**/v1/stream*",
        lambda route: route.fulfill(
            status=503,
            headers={"Retry-After": "2"},
            content_type="application/json",
            body='{"code": "loading", "message": "the model is being loaded"}',
        ),
        times=1,
    )
    await press_start(page)
    await expect(page.locator("#state")).to_have_text("The server is loading its model, trying again in 2 s")
    await expect(page.locator("#state")).to_have_text("Live")


async def test_a_full_server_takes_over_a_page_of_the_same_event_and_lets_another_one_wait_and_cancel(
    serve: Serve, open_page: OpenPage
) -> None:
    server = await serve(*SCRIPTED, "--max-streams", "1")
    first = await open_page(server.url)
    await press_start(first)
    await expect(first.locator("#state")).to_have_text("Live")

    second = await open_page(server.url)
    await press_start(second)
    await second.get_by_role("dialog").get_by_role("button", name="Take over").click()
    await expect(second.locator("#state")).to_have_text("Live")
    await expect(first.locator("#state")).to_have_text("Taken over")

    await first.add_init_script("localStorage.clear(); sessionStorage.clear()")  # a browser of another speaker
    await first.reload()
    await press_start(first)
    await expect(first.locator("#state")).to_contain_text("The server is busy, trying again in")
    await first.get_by_role("button", name="Cancel").click()
    await expect(first.locator("#state")).to_have_text("Ready")
    await press_start(first)
    await expect(first.locator("#state")).to_contain_text("The server is busy")
    await second.get_by_role("button", name="Pause captions").click()
    await expect(first.locator("#state")).to_have_text("Live")


async def test_a_microphone_allowed_after_cancelling_is_closed_at_once(
    scripted_server: Server, open_page: OpenPage
) -> None:
    """A late answer to the browser's question must not start a recording."""
    page = await open_page(scripted_server.url)
    await page.evaluate(
        """() => {
          const devices = navigator.mediaDevices;
          const ask = devices.getUserMedia.bind(devices);
          const answered = new Promise((resolve) => (window.answer = resolve));
          devices.getUserMedia = async (constraints) => {
            await answered;
            return (window.media = await ask(constraints));
          };
        }"""
    )
    await press_start(page)
    await expect(page.locator("#state")).to_have_text("Waiting for permission")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#state")).to_have_text("Ready")
    states = await page.evaluate(
        """async () => {
          window.answer();
          const ended = () => window.media?.getTracks().every((track) => track.readyState === 'ended');
          while (!ended()) await new Promise((resolve) => setTimeout(resolve, 20));
          return window.media.getTracks().map((track) => track.readyState);
        }"""
    )
    assert states == ["ended"]
    await expect(page.locator("#state")).to_have_text("Ready")


async def test_the_sound_of_a_tab_is_captioned_until_it_is_closed(
    scripted_server: Server, launch: Launch, speech_wav: Path
) -> None:
    browser = await launch(*SHARES_ALONE, whole=True)
    async with await browser.new_context() as context:
        talk = await context.new_page()
        await talk.route("http://talk.test/speech.wav", lambda route: route.fulfill(path=speech_wav))
        player = "<title>The talk</title><audio src=speech.wav autoplay loop>"
        await talk.route("http://talk.test/", lambda route: route.fulfill(body=player, content_type="text/html"))
        await talk.goto("http://talk.test/")

        page = await context.new_page()
        await page.goto(scripted_server.url)
        await page.locator("#source").select_option("Tab or screen sound")
        await press_start(page)
        # The first utterance may be the rest of one.
        await expect(page.locator("#transcript")).to_contain_text("One two")

        await talk.close()
        await expect(page.get_by_role("alert")).to_contain_text("The sound source has ended")
        await expect(page.locator("#state")).to_have_text("Paused")


async def test_a_share_without_sound_is_explained(scripted_server: Server, open_page: OpenPage) -> None:
    """Without the tick at "share audio" a browser shares a picture alone."""
    page = await open_page(scripted_server.url)
    await page.evaluate(
        "navigator.mediaDevices.getDisplayMedia = async () => document.createElement('canvas').captureStream()"
    )
    await page.locator("#source").select_option("Tab or screen sound")
    await press_start(page)
    await expect(page.get_by_role("alert")).to_contain_text("The share has no sound")
    await expect(page.locator("#state")).to_have_text("Not started")


async def test_a_reader_who_scrolled_back_is_left_in_peace(scripted_server: Server, open_page: OpenPage) -> None:
    """New captions do not move the text; a button counts them and leads back."""
    page = await open_page(scripted_server.url)
    seen = await page.evaluate(
        """async () => {
          const { TranscriptView } = await import('/static/transcript-view.js');
          const [log, jump] = [document.getElementById('transcript'), document.getElementById('jump')];
          const view = new TranscriptView(log, jump);
          const add = (n) => view.add({ text: `Sentence ${n}.`, startMs: n * 1000, language: 'en' });
          const settled = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
          for (let n = 0; n < 100; n += 1) add(n);
          await settled();
          const followed = log.scrollTop + log.clientHeight >= log.scrollHeight - 1 && jump.hidden;
          log.scrollTop = 200;
          await settled();
          add(100);
          add(101);
          await settled();
          return { followed, scrollTop: log.scrollTop, words: jump.textContent, hidden: jump.hidden };
        }"""
    )
    assert seen == {"followed": True, "scrollTop": 200, "words": "Jump to live (2 new)", "hidden": False}
    jump = page.get_by_role("button", name="Jump to live")
    await jump.click()
    await expect(jump).not_to_be_visible()
    await expect(page.locator("#transcript p").last).to_be_in_viewport()


async def test_a_token_is_taken_out_of_the_address_or_asked_for_once_and_remembered_on_request(
    serve: Serve, context: BrowserContext, tmp_path: Path
) -> None:
    """The page shows that a wrong one is refused, and so is one that does not allow to stream. Enter confirms the right
    one, which is never in the address bar."""
    file = tmp_path / "keys.toml"
    file.write_text(as_toml(Key("Archive", frozenset({Role.READ}), hash_of(b"lc_reader"))))
    server = await serve(*SCRIPTED, "--token", "säcret+/=", "--tokens", str(file))
    by_address = await context.new_page()
    await by_address.goto(f"{server.url}#token=säcret+/=")
    await press_start(by_address)
    await expect(by_address.locator("#state")).to_have_text("Live")
    assert by_address.url == server.url
    await by_address.get_by_role("button", name="Pause captions").click()

    page = await context.new_page()
    await page.goto(server.url)
    await press_start(page)
    dialog = page.get_by_role("dialog", name="This server requires an access token")
    await expect(dialog.get_by_label("Access token")).to_have_accessible_description("")
    await dialog.get_by_label("Access token").fill("wrong")
    await dialog.get_by_role("button", name="Start captions").click()
    await expect(dialog.get_by_label("Access token")).to_have_accessible_description("This token was not accepted.")
    await expect(page.locator("#state")).to_have_text("Ready")
    await dialog.get_by_label("Access token").fill("lc_reader")
    await page.keyboard.press("Enter")
    refusal = "This token does not allow that. Enter one that does, or ask the operator of the server."
    await expect(dialog.get_by_label("Access token")).to_have_accessible_description(refusal)
    await dialog.get_by_label("Access token").fill("säcret+/=")
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_text("Live")
    await page.get_by_role("button", name="Pause captions").click()

    await page.get_by_role("button", name="Options").click()
    await page.get_by_role("button", name="Enter the token").click()
    await expect(dialog.get_by_text("This token was not accepted.")).to_be_hidden()
    await dialog.get_by_label("Access token").fill("säcret+/=")
    await dialog.get_by_label("Remember on this device").check()
    await dialog.get_by_label("Access token").press("Enter")
    await expect(dialog).to_be_hidden()
    later = await context.new_page()
    await later.goto(f"{server.url}stats")
    await expect(later.get_by_role("status")).to_have_text("Ready")


async def test_a_model_of_one_language_offers_it_alone_and_is_named(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    languages = page.locator("#language")
    await page.evaluate("localStorage.setItem('livecaption.settings', JSON.stringify({ language: 'de' }))")
    await page.reload()
    await expect(languages.locator("option")).to_have_text(["English"])
    await expect(languages).to_have_value("en")
    await expect(page.get_by_text("Model tiny.en, for English only.")).to_be_visible()


async def test_the_page_shows_that_the_model_does_not_support_a_language(
    server: Server, context: BrowserContext
) -> None:
    """The page could not learn the languages that the model supports."""
    page = await context.new_page()
    await page.route("**/v1/info", lambda route: route.abort())
    await page.goto(server.url)
    await expect(page.locator("#language option", has_text="Deutsch")).to_have_attribute("lang", "de")
    await expect(page.locator("#language option:not([lang])")).to_have_text(["Detect"])
    await page.locator("#language").select_option(label="Deutsch")
    await press_start(page)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("does not support this language, but en")


async def test_a_refused_microphone_is_explained(scripted_server: Server, launch: Launch) -> None:
    browser = await launch(*SHARES_ALONE, whole=True)
    async with await browser.new_page() as page:
        await page.goto(scripted_server.url)
        await press_start(page)
        await expect(page.get_by_role("alert")).to_contain_text("The microphone is not allowed")
        await expect(page.get_by_role("alert")).to_contain_text("Allow it in the address bar")
        await expect(page.locator("#state")).to_have_text("Not started")


async def test_an_insecure_address_is_explained_with_its_ways_out(serve: Serve, speaking_browser: Browser) -> None:
    """Browsers hide the microphone from plain http, except on the machine itself."""
    server = await serve(*SCRIPTED, "--allowed-host", "livecaption.test")
    async with await speaking_browser.new_page() as page:
        await page.goto(f"http://livecaption.test:{server.port}/")
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("Browsers do not allow the microphone at this address")
        await expect(alert).to_contain_text(f"http://localhost:{server.port}/")
        await expect(alert).to_contain_text(f"ssh -N -L {server.port}:127.0.0.1:{server.port} livecaption.test")
        await expect(alert).to_contain_text("--tls-cert")
        await expect(alert).to_contain_text("reverse proxy")


async def test_with_a_certificate_of_the_server_the_microphone_works_by_an_address_of_the_network(
    serve: Serve, speaking_browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [address for address in reachable(interfaces()) if ":" not in address]
    if not addresses:
        pytest.skip("this machine has no network in which others could reach it")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    server = await serve(*SCRIPTED, "--host", "0.0.0.0", "--insecure", "--tls-self-signed")
    # As somebody who has accepted the browser's warning.
    async with await speaking_browser.new_page(ignore_https_errors=True) as page:
        await page.goto(f"https://{addresses[0]}:{server.port}/")
        assert await page.evaluate("isSecureContext")
        await press_start(page)
        await expect(page.locator("#transcript")).to_contain_text(re.compile(r"\w"))

        # Phones cannot open `localhost`. There the page offers the addresses; link and code begin with the same one.
        await page.goto(f"https://localhost:{server.port}/")
        await page.get_by_role("button", name="Share").click()
        offered = page.get_by_label("Address in the network")
        await expect(page.get_by_text("Phones cannot open localhost")).to_be_visible()
        addresses = await offered.locator("option").all_inner_texts()
        assert f"https://{reachable(interfaces())[0]}:{server.port}/" in addresses or ":" in reachable(interfaces())[0]
        link = page.get_by_label("Link", exact=True)
        await expect(link).to_have_value(re.compile(f"^{re.escape(addresses[0])}watch/"))
        await offered.select_option(addresses[-1])
        await expect(link).to_have_value(re.compile(f"^{re.escape(addresses[-1])}watch/"))
        code = quote(drawn(await link.input_value()), safe="!*'()")
        await expect(page.locator("#share-code")).to_have_attribute("src", f"data:image/svg+xml,{code}")


async def test_a_transcript_that_was_not_downloaded_is_not_cleared_without_asking(
    scripted_server: Server, open_page: OpenPage
) -> None:
    page = await open_page(scripted_server.url)
    await press_start(page)
    captions = page.locator("#transcript p")
    await expect(captions).not_to_have_count(0)
    await page.get_by_role("button", name="Pause captions").click()
    await expect(page.locator("#state")).to_have_text("Paused")

    clear = page.get_by_role("button", name="Clear")
    dialog = page.get_by_role("dialog", name="Clear the transcript?")
    await clear.click()
    await dialog.get_by_role("button", name="Keep").click()
    await expect(captions).not_to_have_count(0)
    await downloaded(page, "Download Text")
    await clear.click()
    await expect(dialog).not_to_be_visible()
    await expect(captions).to_have_count(0)


async def test_slow_networks_lose_the_oldest_sound_and_the_page_shows_it(
    scripted_server: Server, open_page: OpenPage
) -> None:
    """20 seconds come at once: 250 ms are in the socket, and 10 s wait for it. The rest is dropped."""
    page = await open_page(scripted_server.url)
    await press_start(page)
    await expect(page.locator("#state")).to_have_text("Live")
    dropped_ms = await page.evaluate(
        """async () => {
          const { CaptionStream } = await import('/static/stream.js');
          let dropped = 0;
          let ready;
          const started = new Promise((resolve) => (ready = resolve));
          const stream = new CaptionStream({ token: '', sampleRateHz: 16000, language: null }, {
            received: ({ type }) => type === 'ready' && ready(),
            dropped: (ms) => (dropped += ms),
            closed: () => {},
          });
          await started;
          for (let sent_ms = 0; sent_ms < 20_000; sent_ms += 50) stream.sendAudio(new Int16Array(800));
          stream.close();
          return dropped;
        }"""
    )
    assert dropped_ms == 20_000 - 250 - 10_000
