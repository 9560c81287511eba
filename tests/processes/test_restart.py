"""After a crash and restart of the server, sessions go on: publisher and readers only see a lost connection.

Server, store, inference process, client and readers are real. The utterances of the talk differ in length, so that lost
or repeated audio is visible in their times.
"""

import asyncio
import contextlib
import json
import random
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from livecaption.client import Endpointing, RoomEntry, StreamEvent, StreamSettings, transcribe, watch
from livecaption.events import End, Final, Gap, Partial, Ready
from livecaption.store.rows import SessionState
from tests.support.eventually import eventually
from tests.support.processes import ServerProcess, serving
from tests.support.speech import pcm_s16le, sound
from tests.support.stored import opened

pytestmark = pytest.mark.processes

N_TALKS = 2
N_KILLS = 3
SPEED = 4.0
CHUNK_BYTES = 3200
TALK = pcm_s16le(
    sound(
        "silence 300ms, speech 1300ms, silence 900ms, speech 2600ms, silence 1000ms, speech 700ms, silence 3900ms, "
        "speech 1900ms, silence 900ms, speech 1000ms, silence 1500ms, speech 3300ms, silence 1200ms, speech 1600ms, "
        "silence 900ms"
    )
)
SETTINGS = StreamSettings(words=True, endpointing=Endpointing(silence_ms=500))
VAD_MS = 60
"""Tolerance of the times of speech. A restarted server has not measured the earlier noise, and is some frames off."""


class Restarted:
    """Successive servers with the same store and port."""

    def __init__(self, path: Path, port: int, *flags: str) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self._flags = ("--port", str(port), "--store", str(path), *flags)
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
async def restarted(path: Path, port: int, *flags: str) -> AsyncIterator[Restarted]:
    servers = Restarted(path, port, *flags)
    try:
        await servers.start()
        await servers.server.ready()
        yield servers
    finally:
        await servers.close()


class Reader:
    """Reads server-sent events like a browser: after a lost connection, it reconnects with the last id."""

    def __init__(self, url: str, session: str) -> None:
        self._url = f"{url}v1/sessions/{session}/events"
        self.events: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Read until the session is over."""
        place = ""
        async with aiohttp.ClientSession() as http:
            while not self.events or self.events[-1]["type"] != "end":
                try:
                    async with http.get(self._url, headers={"Last-Event-ID": place}) as response:
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
        lines: dict[int, str] = {}
        for event in self.events:
            if event["type"] == "snapshot":
                sent = {final["utterance"]: final["text"] for final in event["finals"]}
                assert lines.items() <= sent.items(), "a line was taken back"
                lines = sent
            elif event["type"] == "final":
                assert event["utterance"] not in lines, "a line came twice"
                lines[event["utterance"]] = event["text"]
        return lines


async def paced() -> AsyncIterator[bytes]:
    """Yield the talk, faster than real time."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for at in range(0, len(TALK), CHUNK_BYTES):
        yield TALK[at : at + CHUNK_BYTES]
        await asyncio.sleep(max(0.0, begin_s + (at + CHUNK_BYTES) / 32_000 / SPEED - loop.time()))


def finals_of(events: list[StreamEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def is_stored(path: Path, session: str) -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute("SELECT 1 FROM session WHERE id = ?", (session,)).fetchone() is not None


def assert_same_utterances(finals: list[Final], unbroken: list[Final]) -> None:
    """Check that each utterance has one final, in order, with exactly its text."""
    assert [final.utterance for final in finals] == [final.utterance for final in unbroken]
    for final, expected in zip(finals, unbroken, strict=True):
        assert abs(final.start_ms - expected.start_ms) <= VAD_MS, (finals, unbroken)
        assert abs(final.end_ms - expected.end_ms) <= VAD_MS, (finals, unbroken)
        assert final.text
        assert final.words
        assert final.start_ms - 500 <= final.words[0].start_ms <= final.words[-1].end_ms <= final.end_ms + 500


async def watched(url: str, session: str) -> list[Final]:
    """Return the finals that the client reads, up to the end of the session."""
    async with watch(url, session) as reader:
        return [event async for event in reader if isinstance(event, Final)]


async def captioned(url: str) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    await transcribe(url, paced(), events.append, SETTINGS)
    return events


@pytest.mark.timeout(300)
async def test_sigkill_at_any_moments_costs_and_doubles_no_word_for_publisher_and_readers(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    path = tmp_path / "transcripts.db"
    captions: dict[str, list[Final]] = {}
    async with restarted(path, unused_tcp_port) as servers:
        unbroken = finals_of(await captioned(servers.url))
        assert len(unbroken) == 7
        for seed in range(N_TALKS):
            chance = random.Random(seed)
            events: list[StreamEvent] = []
            talking = asyncio.ensure_future(transcribe(servers.url, paced(), events.append, SETTINGS))
            await eventually(lambda: events)  # noqa: B023
            assert isinstance(events[0], Ready)
            session = events[0].session
            # The store has half a second before `ready` is sent without it, and may need longer beside other tests.
            await eventually(lambda: is_stored(path, session))  # noqa: B023
            reader = Reader(servers.url, session)
            reading = asyncio.ensure_future(reader.run())
            watching = asyncio.ensure_future(watched(servers.url, session))
            for _ in range(N_KILLS):
                await asyncio.sleep(chance.uniform(0.1, 1.5))  # a random moment, not that of an event
                await servers.kill()
                await servers.start()
            async with asyncio.timeout(30):
                end = await talking
                await reading
            finals = finals_of(events)
            assert_same_utterances(finals, unbroken)
            assert end == End(len(TALK) // 32, len(unbroken), "stop"), seed
            assert [event for event in events if isinstance(event, Gap) and event.end_ms > event.start_ms] == []
            assert list(reader.lines.items()) == [(final.utterance, final.text) for final in finals]
            assert [(each.utterance, each.text) for each in await watching] == list(reader.lines.items())
            numbers = [event["seq"] for event in reader.events]
            assert numbers == sorted(numbers)
            captions[session] = finals
        await servers.kill()
    with opened(path) as database:
        for session, finals in captions.items():
            record = database.session(session)
            assert record is not None
            assert record.state is SessionState.ENDED
            assert [final.text for final in database.finals(record)] == [final.text for final in finals]
        assert database.interrupted() == []


async def test_a_client_goes_on_by_itself_when_its_server_restarts_in_order(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    """Row 84. An utterance that the stop cuts has two finals, which share no audio."""
    audio = TALK[: 32 * 8000]
    events: list[StreamEvent] = []

    async def talk() -> AsyncIterator[bytes]:
        for at in range(0, len(audio), CHUNK_BYTES):
            yield audio[at : at + CHUNK_BYTES]
            await asyncio.sleep(CHUNK_BYTES / 32_000 / SPEED)

    async with restarted(tmp_path / "transcripts.db", unused_tcp_port) as servers:
        settings = replace(SETTINGS, room=RoomEntry("pycon", "the secret of a room"))
        talking = asyncio.ensure_future(transcribe(servers.url, talk(), events.append, settings))
        await eventually(lambda: any(isinstance(event, Partial) and event.utterance == 1 for event in events))
        await servers.stop()
        await servers.start()
        async with asyncio.timeout(30):
            end = await talking
    finals = finals_of(events)
    assert [final.utterance for final in finals] == list(range(len(finals)))
    assert all(one.end_ms <= other.start_ms for one, other in pairwise(finals))
    assert [event for event in events if isinstance(event, Gap) and event.end_ms > event.start_ms] == []
    for start_ms, end_ms in ((300, 1600), (2500, 5100), (6100, 6800)):
        captioned_ms = sum(
            max(0, min(final.end_ms, end_ms) - max(final.start_ms, start_ms)) for final in finals if final.text
        )
        assert captioned_ms >= end_ms - start_ms - 2 * VAD_MS, finals
    assert end == End(len(audio) // 32, len(finals), "stop")
