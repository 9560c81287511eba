"""A publisher that speaks on command, the pages of publishers, the link for readers, and what their page shows."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from playwright.async_api import Page, expect

from livecaption.client import RoomEntry, Stream, StreamSettings, connect
from livecaption.events import Final, Ready, Translation
from tests.browser.support import Server
from tests.support.speech import pcm_s16le, sound

ROOM_SECRET = "the secret of a room"
OpenPage = Callable[..., Awaitable[Page]]


class Publisher:
    """Speaks on command; the scripted engine transcribes a word for each 300 ms."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._finals: asyncio.Queue[Final] = asyncio.Queue()
        self._translations: asyncio.Queue[Translation] = asyncio.Queue()
        self.reading = asyncio.ensure_future(self._read())

    @property
    def ready(self) -> Ready:
        return self._stream.ready

    def page_of(self, url: str, query: str = "") -> str:
        ready = self._stream.ready
        token = f"#token={ready.reader_token}" if ready.private else ""
        return f"{url}watch/{ready.room.name if ready.room else ready.session}{query}{token}"

    async def say(self, duration_ms: int = 900) -> str:
        """Say one utterance; return its final's text."""
        await self._stream.send_audio(pcm_s16le(sound(f"silence 200ms, speech {duration_ms}ms, silence 900ms")))
        return await self.final()

    async def final(self) -> str:
        """Wait for the final of what was said; return its text."""
        return (await asyncio.wait_for(self._finals.get(), 20)).text

    async def translation(self) -> Translation:
        """Wait for the next translation."""
        return await asyncio.wait_for(self._translations.get(), 20)

    async def name(self, speaker: int, name: str) -> None:
        """Give a speaker a name."""
        await self._stream.name(speaker, name)

    async def send(self, audio: bytes) -> None:
        """Send audio as it is."""
        await self._stream.send_audio(audio)

    async def begin_to_say(self) -> None:
        """Begin an utterance that stays open."""
        await self._stream.send_audio(pcm_s16le(sound("silence 200ms, speech 2500ms")))

    async def stop(self, *, end_room: bool = False) -> None:
        await self._stream.stop(end_room=end_room)
        await self.reading

    async def _read(self) -> None:
        async for event in self._stream:
            if isinstance(event, Final):
                self._finals.put_nowait(event)
            elif isinstance(event, Translation):
                self._translations.put_nowait(event)


async def put(server: Server, room: str, **change: Any) -> None:
    """Register a room, or change it."""
    body = {"secret": ROOM_SECRET, **change}
    async with aiohttp.ClientSession() as http, http.put(f"{server.url}v1/rooms/{room}", json=body) as response:
        assert response.status == 200, await response.text()


@asynccontextmanager
async def speaking(server: Server, room: str | None = None, **settings: Any) -> AsyncIterator[Publisher]:
    """Open a stream, in a room if `room` names one."""
    entry = RoomEntry(room, ROOM_SECRET) if room is not None else None
    async with connect(server.url, StreamSettings(**settings, room=entry)) as stream:
        publisher = Publisher(stream)
        try:
            yield publisher
        finally:
            publisher.reading.cancel()
            await asyncio.wait({publisher.reading})


async def expect_lines(page: Page, texts: Sequence[str | re.Pattern[str]]) -> None:
    """Wait until the whole transcript is this, without its times."""
    await expect(page.locator("#transcript p span")).to_have_text(texts)


async def expect_state(page: Page, words: str) -> None:
    await expect(page.locator("#state")).to_contain_text(words)


async def shared_link(page: Page) -> str:
    """Open the share dialog and wait until its code is there; return the link. The dialog stays open."""
    await page.get_by_role("button", name="Share", exact=True).click()
    code = page.locator("#share-code")
    await expect(code).to_have_attribute("src", re.compile("^data:image/svg"))
    # A look at it, again and again: `decode()` fails while there is no source, and if that changes meanwhile.
    await expect(code).not_to_have_js_property("naturalWidth", 0)
    return await page.get_by_label("Link", exact=True).input_value()


async def load_again(page: Page) -> None:
    """Load the page of somebody who speaks again, though the browser asks first, and wait until it has gone on."""
    page.on("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await expect(page.locator("#state")).to_have_text("Live")
