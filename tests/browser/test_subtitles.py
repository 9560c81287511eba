"""Downloads from the publisher's page: subtitles come from the server, and text does not need it."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.browser.support import Profile, Serve, Server, emptied

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

STORES_NOTHING = ("--engine", "scripted", "--store", "none")


@pytest_asyncio.fixture(loop_scope="session")
async def page(speaking_browser: Browser, profile: Profile) -> AsyncIterator[Page]:
    async with emptied(await profile(speaking_browser)) as context:
        yield await context.new_page()


async def start(page: Page, server: Server) -> None:
    """Caption until there is a final."""
    await page.goto(server.url)
    await page.get_by_role("button", name="Start captions").click()
    await expect(captions(page)).not_to_have_count(0)


async def stop(page: Page) -> None:
    await page.get_by_role("button", name="Pause captions").click()
    await expect(page.locator("#state")).to_have_text("Paused")


def captions(page: Page) -> Locator:
    return page.locator("#transcript p span")


async def downloaded(page: Page, name: str) -> str:
    async with page.expect_download() as download:
        await page.get_by_role("button", name=f"Download {name}").click()
    path = await (await download.value).path()
    return path.read_text(encoding="utf-8")


def words(file: str) -> list[str]:
    """The words of a file, without the lines of WebVTT and SRT that are none."""
    return re.sub(r"^(WEBVTT|\d+|.* --> .*)$", "", file, flags=re.MULTILINE).split()


async def shown_words(page: Page) -> list[str]:
    return " ".join(await captions(page).all_inner_texts()).split()


async def test_subtitles_of_a_private_session_that_has_ended_are_saved_without_the_server(
    serve: Serve, page: Page
) -> None:
    server = await serve(*STORES_NOTHING)
    await page.goto(server.url)
    await page.get_by_label("Private").check()
    await start(page, server)
    async with page.expect_response("**/transcript.srt") as response:
        await stop(page)
    await (await response.value).finished()
    server.terminate()
    await server.process.wait()
    for name in ("VTT", "SRT"):
        assert words(await downloaded(page, name)) == await shown_words(page)


async def test_a_page_that_lost_its_server_saves_text_and_shows_why_it_saves_no_subtitles(
    serve: Serve, page: Page
) -> None:
    server = await serve(*STORES_NOTHING, "--resume-window", "0.5")
    await start(page, server)
    server.process.kill()
    await server.process.wait()
    await expect(page.locator("#state")).to_have_text("Reconnecting")
    await page.get_by_role("button", name="Download VTT").click()
    await expect(page.get_by_role("alert")).to_contain_text("Subtitles are not available")
    await page.get_by_role("button", name="Clear").click()
    dialog = page.get_by_role("dialog", name="Clear the transcript?")
    await dialog.get_by_role("button", name="Keep").click()
    assert words(await downloaded(page, "Text")) == await shown_words(page)


async def test_subtitles_of_a_running_session_are_made_and_sessions_joined_without_what_was_cleared(
    page: Page, scripted_server: Server
) -> None:
    """Also by a server that stores nothing."""
    await start(page, scripted_server)
    for name in ("VTT", "SRT"):
        before = await shown_words(page)
        written = words(await downloaded(page, name))
        assert written[: len(before)] == before
    await stop(page)
    await downloaded(page, "Text")
    await page.get_by_role("button", name="Clear").click()
    for _ in range(2):
        n_before = await captions(page).count()
        await page.get_by_role("button", name="Continue captions").click()
        await expect(captions(page)).not_to_have_count(n_before)
        await stop(page)
    file = await downloaded(page, "VTT")
    assert words(file) == await shown_words(page)
    starts = re.findall(r"^(\S+) --> ", file, re.MULTILINE)
    assert starts == sorted(starts)
