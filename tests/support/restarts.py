"""Successive servers with one store, and a talk that goes on over them."""

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from livecaption.client import Endpointing, StreamEvent, StreamSettings, transcribe
from livecaption.events import Final
from tests.support.processes import ServerProcess, serving
from tests.support.speech import pcm_s16le, sound

SPEED = 4.0
CHUNK_BYTES = 3200
TALK = pcm_s16le(
    sound(
        "silence 300ms, speech 1300ms, silence 900ms, speech 2600ms, silence 1000ms, speech 700ms, silence 3900ms, "
        "speech 1900ms, silence 900ms, speech 1000ms, silence 1500ms, speech 3300ms, silence 1200ms, speech 1600ms, "
        "silence 900ms"
    )
)
LAST_BYTES = len(pcm_s16le(sound("speech 1600ms, silence 900ms")))
"""The last utterance of the talk."""
SETTINGS = StreamSettings(words=True, endpointing=Endpointing(silence_ms=500))
VAD_MS = 60
"""Tolerance of the times of speech. A restarted server has not measured the earlier noise, and is some frames off."""


class Restarted:
    """Successive servers with the same store and port."""

    def __init__(self, store: str | Path, port: int, *flags: str) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self._flags = ("--port", str(port), "--store", str(store), *flags)
        self._stack = AsyncExitStack()
        self.server: ServerProcess

    async def start(self) -> None:
        self.server = await self._stack.enter_async_context(serving(*self._flags))
        await self.server.listening()

    async def stop(self) -> None:
        self.server.send(signal.SIGTERM)
        assert await self.server.exited(within_s=5) == 0

    async def kill(self) -> None:
        self.server.send(signal.SIGKILL)
        await self.server.exited(within_s=5)

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def restarted(store: str | Path, port: int, *flags: str) -> AsyncIterator[Restarted]:
    servers = Restarted(store, port, *flags)
    try:
        await servers.start()
        await servers.server.ready()
        yield servers
    finally:
        await servers.close()


class Reader:
    """Reads server-sent events like the page: after a lost connection, or a 503, it reconnects with the last id."""

    def __init__(self, url: str, session: str, trusted: ssl.SSLContext | None = None) -> None:
        self._url = f"{url}v1/sessions/{session}/events"
        self._trusted: ssl.SSLContext | bool = trusted or True
        self.events: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Read until the session is over."""
        place = ""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._trusted)) as http:
            while not self.events or self.events[-1]["type"] != "end":
                try:
                    async with http.get(self._url, headers={"Last-Event-ID": place}) as response:
                        if response.status == 503:  # another server may have it
                            raise aiohttp.ClientResponseError(response.request_info, ())
                        assert response.status == 200, await response.text()
                        async for line in response.content:
                            name, _, value = line.decode().rstrip("\n").partition(": ")
                            if name == "id":
                                place = value
                            elif name == "data":
                                self.events.append(json.loads(value))
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)  # a browser waits before it reconnects

    @property
    def lines(self) -> dict[int, str]:
        """Return the text by utterance. A snapshot may repeat text; all other events must not."""
        return self._lines(may_be_early=False)

    @property
    def shown(self) -> dict[int, str]:
        """Return the same, where a snapshot may lack finals that a server has sent before it could store them."""
        return self._lines(may_be_early=True)

    @property
    def summary(self) -> list[object]:
        """Return the utterances of the finals, and of each snapshot, for messages."""
        return [
            [final["utterance"] for final in event["finals"]] if event["type"] == "snapshot" else event["utterance"]
            for event in self.events
            if event["type"] in ("snapshot", "final")
        ]

    def _lines(self, *, may_be_early: bool) -> dict[int, str]:
        lines: dict[int, str] = {}
        for event in self.events:
            if event["type"] == "snapshot":
                sent = {final["utterance"]: final["text"] for final in event["finals"]}
                assert may_be_early or lines.items() <= sent.items(), "a line was taken back"
                lines = sent
            elif event["type"] == "final":
                assert event["utterance"] not in lines, "a line came twice"
                lines[event["utterance"]] = event["text"]
        return lines


async def paced(ends: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """Yield the talk, faster than real time. The last utterance waits for the event."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for at in range(0, len(TALK), CHUNK_BYTES):
        if ends is not None and at >= len(TALK) - LAST_BYTES:
            await ends.wait()
        yield TALK[at : at + CHUNK_BYTES]
        await asyncio.sleep(max(0.0, begin_s + (at + CHUNK_BYTES) / 32_000 / SPEED - loop.time()))


def finals_of(events: list[StreamEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def assert_same_utterances(finals: list[Final], unbroken: list[Final]) -> None:
    """Check that each utterance has one final, in order, with exactly its text."""
    assert [final.utterance for final in finals] == [final.utterance for final in unbroken]
    for final, expected in zip(finals, unbroken, strict=True):
        assert abs(final.start_ms - expected.start_ms) <= VAD_MS, (finals, unbroken)
        assert abs(final.end_ms - expected.end_ms) <= VAD_MS, (finals, unbroken)
        assert final.text
        assert final.words
        assert final.start_ms - 500 <= final.words[0].start_ms <= final.words[-1].end_ms <= final.end_ms + 500


async def captioned(url: str) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    await transcribe(url, paced(), events.append, SETTINGS)
    return events
