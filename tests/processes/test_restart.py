"""After a crash and restart of the server, sessions go on: publisher and readers only see a lost connection.

Server, store, inference process, client and readers are real. The utterances of the talk differ in length, so that lost
or repeated audio is visible in their times.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from livecaption.client import RoomEntry, StreamEvent, transcribe, watch
from livecaption.events import End, Final, Gap, Partial, Ready
from livecaption.store.rows import SessionState
from tests.support.eventually import eventually
from tests.support.restarts import (
    CHUNK_BYTES,
    SETTINGS,
    SPEED,
    TALK,
    VAD_MS,
    Reader,
    assert_same_utterances,
    captioned,
    finals_of,
    paced,
    restarted,
)
from tests.support.stored import opened

pytestmark = pytest.mark.processes

N_TALKS = 2
N_KILLS = 3


def is_stored(path: Path, session: str) -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute("SELECT 1 FROM session WHERE id = ?", (session,)).fetchone() is not None


async def watched(url: str, session: str) -> list[Final]:
    """Return the finals that the client reads, up to the end of the session."""
    async with watch(url, session) as reader:
        return [event async for event in reader if isinstance(event, Final)]


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
            await servers.server.ready()
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
        assert database.interruptions() == []


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
