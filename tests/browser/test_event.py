"""A whole event at one address: before it, two parts, a restart of the server, a break, the transcript."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.reading import OpenPage, expect_lines, put, speaking
from tests.browser.support import Serve, Server

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HOUR_MS = 3_600_000
PARTS = [re.compile("^Morning ·"), re.compile("^Afternoon ·")]


async def expect_words(page: Page, *sentences: str) -> None:
    """Wait for these sentences in the page."""
    for sentence in sentences:
        await expect(page.locator("#notice")).to_contain_text(sentence)


async def expect_captions(page: Page, said: list[str]) -> None:
    """Wait until captions come, and these are all so far, each once."""
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator("#state")).to_have_text("Live")
    await expect_lines(page, said)


def let_an_hour_pass(store: Path) -> None:
    """Move everything that the store has into the past, for a server that starts then."""
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE session SET started_at_ms = started_at_ms - ?", (HOUR_MS,))
        database.execute(
            "UPDATE room SET created_at_ms = created_at_ms - ?, ended_at_ms = ended_at_ms - ?", [HOUR_MS] * 2
        )


async def test_one_address_leads_through_a_whole_event(
    serve: Serve, open_page: OpenPage, tmp_path: Path, unused_tcp_port: int
) -> None:
    """Nothing is lost or doubled, and the page shows what happens at each stage."""
    store = tmp_path / "transcripts.db"
    flags = ("--engine", "scripted", "--port", str(unused_tcp_port), "--store", str(store), "--resume-window", "600")

    async def start_server() -> Server:
        return await serve(*flags)

    server = await start_server()
    link = f"{server.url}watch/pycon"
    early = await open_page(link)
    await expect_words(early, "There are no captions at this link", "keep this page open")
    await put(server, "pycon", title="PyCon")
    early = await open_page(link)
    await expect_words(early, "PyCon", "The captions start soon.")

    async with speaking(server, room="pycon", title="Morning") as publisher:
        said = [await publisher.say(900)]
        await expect_captions(early, said)
        late = await open_page(link)
        await expect_captions(late, said)
        await publisher.begin_to_say()
        # Behind the line before, which has these words too: a server that has no audio yet would leave its final to the
        # next one.
        await expect(late.locator("#roll-up p")).to_have_text([said[0], re.compile("one two", re.I)])

        server.terminate()
        said.append(await publisher.final())
        for page in (early, late):
            await expect_words(page, "The server restarts", "This page goes on by itself.")
        await server.process.wait()
        server = await start_server()
        said.append(await publisher.say(1500))
        for page in (early, late):
            await expect_captions(page, said)
        await publisher.stop()
    for page in (early, late):
        await expect_words(page, "Break", "The captions go on here.")

    async with speaking(server, room="pycon", title="Afternoon") as publisher:
        said.append(await publisher.say(600))
        for page in (early, late):
            await expect_captions(page, said)
            await expect(page.locator("#transcript h2")).to_have_text(PARTS)
        await publisher.stop(end_room=True)
    for page in (early, late):
        await expect_words(page, "The event is over", "Here is its transcript.")
        await expect_lines(page, said)

    server.terminate()
    await server.process.wait()
    let_an_hour_pass(store)
    await start_server()
    last = await open_page(link)
    await expect_words(last, "The event is over", "Here is its transcript.")
    await expect_lines(last, said)
    await expect(last.locator("#transcript h2")).to_have_text(PARTS)
    await expect(last.locator("#notice").get_by_role("button", name="WebVTT")).to_be_visible()
    # The others have kept what they read.
    await expect_words(early, "The event is over")
    await expect_lines(early, said)
