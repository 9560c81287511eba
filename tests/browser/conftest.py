"""Chromium with a microphone that plays a recording, and a real server for it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import soundfile
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Route, async_playwright, expect

from tests.browser.reading import OpenPage
from tests.browser.support import ROOT, WAIT_MS, Launch, Profile, Serve, Server, emptied, microphone, serving
from tests.support.speech import sound

expect.set_options(timeout=WAIT_MS)

CHROMIUM = shutil.which("chromium")
SHELL = shutil.which("chromium-headless-shell") or CHROMIUM
"""Chromium without windows takes two thirds of the processor time, but refuses no microphone and shares no tab."""
CHROMIUM_FLAGS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    # The pages of a profile share a process: to start one takes a fifth of a page's processor time.
    "--renderer-process-limit=1",
    # A name that is not the machine's own.
    "--host-resolver-rules=MAP livecaption.test 127.0.0.1",
)


def pytest_runtest_setup() -> None:
    """Without Chromium skip these tests, or fail where `CI` is set.

    A hook and not a fixture or a marker, so that pytest reports all skips in one line.
    """
    if CHROMIUM is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("the browser tests need Chromium: apt-get install chromium chromium-headless-shell")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def launch(speech_wav: Path) -> AsyncIterator[Launch]:
    """Start Chromium, with windows or without: once for each kind and set of flags, until all tests are done.

    Without flags it is a browser whose user has allowed the microphone and is speaking.
    """
    started: dict[tuple[bool, tuple[str, ...]], Browser] = {}
    async with async_playwright() as playwright:

        async def launched(*flags: str, whole: bool = False) -> Browser:
            flags = flags or microphone(speech_wav)
            kind = (whole, flags)
            if kind not in started:
                started[kind] = await playwright.chromium.launch(
                    executable_path=CHROMIUM if whole else SHELL,
                    chromium_sandbox=False,
                    args=[*CHROMIUM_FLAGS, *flags],
                    # It would also silence the sound of a captured tab.
                    ignore_default_args=["--mute-audio"],
                )
            return started[kind]

        yield launched
        for browser in started.values():
            await browser.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def profile() -> AsyncIterator[Profile]:
    """The one profile of a browser. A new one for each test takes as long again as its page."""
    profiles: dict[Browser, BrowserContext] = {}

    async def of(browser: Browser) -> BrowserContext:
        if browser not in profiles:
            profiles[browser] = await browser.new_context()
        return profiles[browser]

    yield of


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def module_page(launch: Launch) -> AsyncIterator[Page]:
    """An empty page that can import the modules of static/ from `/`, without a server."""

    async def from_disk(route: Route) -> None:
        path = Path(route.request.url).name
        await route.fulfill(path=ROOT / "static" / path) if path.endswith(".js") else await route.fulfill(body="")

    browser = await launch()
    async with await browser.new_page() as page:
        await page.route("http://localhost/**", from_disk)
        await page.goto("http://localhost/")
        yield page


@pytest.fixture(scope="session")
def speech_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording that the fake microphone plays over and over: short utterances, for which no test waits long."""
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(path, sound("silence 100ms, speech 700ms, silence 800ms"), 16_000, subtype="PCM_16")
    return path


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def speaking_browser(launch: Launch) -> Browser:
    """A browser whose user has allowed the microphone and is speaking."""
    return await launch()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def server() -> AsyncIterator[Server]:
    """A server for the tests that need a real model and do not stop it.

    The pauses in its recording are longer than the default of 500 ms; with this it is a single utterance.
    """
    async with serving("--silence", "1500") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def scripted_server() -> AsyncIterator[Server]:
    """A server with known words: one for each 300 ms of an utterance."""
    async with serving("--engine", "scripted") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def serve() -> AsyncIterator[Serve]:
    """Start a server of the test's own, with more flags; it is stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def start(*flags: str) -> Server:
            return await stack.enter_async_context(serving(*flags))

        yield start


@pytest_asyncio.fixture(loop_scope="session")
async def context(launch: Launch, profile: Profile) -> AsyncIterator[BrowserContext]:
    async with emptied(await profile(await launch())) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(context: BrowserContext) -> AsyncIterator[OpenPage]:
    """Open the page at an address, after a script of the test's own.

    When the test ends, the browser's console must be clean.
    """
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # Browsers log every request that fails, also where the page handles it.
        failed = message.text.startswith(("Failed to load resource", "WebSocket connection to"))
        if message.type in ("error", "warning") and not failed:
            complaints.append(message.text)

    async def opened(url: str, before: str = "") -> Page:
        page = await context.new_page()
        if before:
            await page.add_init_script(before)
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        return page

    yield opened
    assert complaints == []
