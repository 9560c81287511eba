"""The JavaScript examples of the documents run as they stand, in a real browser."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, expect

from tests.browser.support import ROOT, Serve, Server
from tests.support.speech import sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NOTE_SESSION = """
globalThis.session = new Promise((resolve) => socket.addEventListener("message", ({ data }) => {
  if (JSON.parse(data).type === "ready") resolve(JSON.parse(data).session);
}));
"""

EXAMPLES = ROOT / "docs" / "examples"


def examples(document: str) -> list[str]:
    return re.findall(r"^```js\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


async def page_of(browser: Browser, server: Server) -> Page:
    """An empty page of the server's origin, into which scripts may be put."""
    context = await browser.new_context(bypass_csp=True, permissions=["microphone"])
    page = await context.new_page()
    await page.goto(f"{server.url}healthz")
    return page


async def test_the_example_of_the_readme_captions_the_microphone(
    speaking_browser: Browser, scripted_server: Server
) -> None:
    page = await page_of(speaking_browser, scripted_server)
    [example] = examples("README.md")
    async with page.expect_console_message(lambda message: message.text.startswith("final ")):
        await page.add_script_tag(content=example)
    await page.context.close()


async def test_the_examples_for_clients_send_samples_and_read_along(
    speaking_browser: Browser, scripted_server: Server
) -> None:
    page = await page_of(speaking_browser, scripted_server)
    publisher, reader = (
        example.replace("ws://localhost:8000/", scripted_server.url.replace("http", "ws")).replace(
            "http://localhost:8000/", scripted_server.url
        )
        for example in examples("docs/clients.md")
    )
    await page.add_script_tag(content=publisher + NOTE_SESSION)
    session = await page.evaluate("session")
    speech = np.repeat(sound("silence 200ms, speech 1200ms, silence 1000ms"), 3).astype("<f4").tobytes()
    reading = await page.context.new_page()
    await reading.goto(f"{scripted_server.url}healthz")
    await reading.add_script_tag(content=reader.replace("SESSION", session))
    async with (
        page.expect_console_message(lambda message: re.match(r"\d+ \w", message.text) is not None),
        reading.expect_console_message(lambda message: re.match(r"\w+ \w", message.text) is not None),
    ):
        await page.evaluate(
            """(samples) => {
              speak(new Float32Array(Uint8Array.from(atob(samples), (c) => c.charCodeAt(0)).buffer));
              finish();
            }""",
            base64.b64encode(speech).decode(),
        )
    await page.context.close()


async def test_the_example_for_files_captions_in_a_browser_too(
    speaking_browser: Browser, scripted_server: Server
) -> None:
    page = await page_of(speaking_browser, scripted_server)
    await page.route("**/caption-file.mjs", lambda route: route.fulfill(path=EXAMPLES / "caption-file.mjs"))
    wav = io.BytesIO()
    soundfile.write(wav, sound("silence 200ms, speech 1200ms, silence 100ms"), 16_000, format="WAV", subtype="PCM_16")
    events = await page.evaluate(
        """async ([server, wav]) => {
          const { caption } = await import("/caption-file.mjs");
          const events = [];
          const file = Uint8Array.from(atob(wav), (c) => c.charCodeAt(0)).buffer;
          await caption(server, file, (event) => events.push(event));
          return events;
        }""",
        [scripted_server.url, base64.b64encode(wav.getvalue()).decode()],
    )
    assert (events[0]["type"], events[-1]["type"]) == ("ready", "end")
    [final] = [event for event in events if event["type"] == "final"]
    assert len(final["text"].split()) >= 4
    await page.context.close()


async def test_the_page_that_captions_the_microphone_is_complete(
    speaking_browser: Browser, serve: Serve, tmp_path: Path
) -> None:
    """A server of another origin has the page, which the captions' server allows. It shows why it is refused."""
    settings = tmp_path / "livecaption.toml"
    settings.write_text('[server]\ntoken = "a-long-token-~~~?"\n')
    application = web.Application()
    application.router.add_static("/", EXAMPLES)
    async with TestServer(application) as pages:
        origin = str(pages.make_url("/")).rstrip("/")
        server = await serve("--engine", "scripted", "--allowed-origin", origin, "--config", str(settings))
        context = await speaking_browser.new_context(permissions=["microphone"])
        page = await context.new_page()
        await page.goto(f"{origin}/microphone.html#server={server.url}")
        await page.get_by_role("button", name="Speak").click()
        await expect(page.locator("#partial")).to_contain_text("token")
        await page.goto("about:blank")
        await page.goto(f"{origin}/microphone.html#server={server.url}&token=a-long-token-~~~?")
        await page.get_by_role("button", name="Speak").click()
        await expect(page.locator("#partial")).to_have_text(re.compile(r"\w \w"))
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("#finals")).to_have_text(re.compile(r"\w \w"))
        await expect(page.get_by_role("button")).to_have_count(0)
        await context.close()
