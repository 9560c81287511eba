"""A publisher whose connection breaks at any moment: not one word is lost or doubled.

Client, network, server and inference process are real; the scripted engine answers a word for each 300 ms of an
utterance, so that audio that is lost or repeated shows in its words and times.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from livecaption.client import (
    Endpointing,
    RoomEntry,
    Stream,
    StreamClosed,
    StreamEvent,
    StreamRefused,
    StreamSettings,
    connect,
    transcribe,
    watch,
)
from livecaption.config import Config
from livecaption.events import End, Final, Flushed, Ready, SpeechStart
from livecaption.ipc.config import EngineConfig
from livecaption.pipeline.open_utterance import SPECULATION_SILENCE_MS
from livecaption.server.lifecycle import running_server
from tests.support.relay import relay_to
from tests.support.speech import pcm_s16le, sound

N_BREAKS = 30
TALK = pcm_s16le(
    sound(
        "silence 300ms, speech 1300ms, silence 900ms, speech 2600ms, silence 1000ms, speech 700ms, silence 900ms, "
        "speech 1900ms, silence 900ms"
    )
)
# An utterance ends at the pause at which its final would be asked for early. The window of an early final depends on
# where the messages are cut.
SETTINGS = StreamSettings(partials=False, words=True, endpointing=Endpointing(silence_ms=SPECULATION_SILENCE_MS))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    config = Config(engine=EngineConfig(engine="scripted"))
    async with running_server(replace(config, server=replace(config.server, resume_window_s=10.0))) as url:
        yield url


async def pieces(chance: random.Random) -> AsyncIterator[bytes]:
    """The talk, cut anywhere."""
    at = 0
    while at < len(TALK):
        n_bytes = chance.randrange(1, 4000)
        yield TALK[at : at + n_bytes]
        at += n_bytes


async def caption(url: str, seed: int = 0) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    async with asyncio.timeout(20):
        await transcribe(url, pieces(random.Random(seed)), events.append, SETTINGS)
    return events


def transcript(events: list[StreamEvent]) -> list[Final]:
    """The finals, without the time that they took."""
    return [replace(event, latency_ms=0) for event in events if isinstance(event, Final)]


@pytest.mark.timeout(170)
async def test_a_connection_that_breaks_anywhere_costs_and_doubles_no_word(url: str) -> None:
    unbroken = await caption(url)
    assert len(transcript(unbroken)) == 4
    n_broken = 0
    for seed in range(N_BREAKS):
        chance = random.Random(seed)
        inf = float("inf")
        # Towards the server, or on the way back, behind `ready`, without which a client has no session to resume; every
        # fifth breaks twice, maybe while it resumes.
        breaks = [(chance.randrange(400, len(TALK)), inf) if seed % 2 else (inf, chance.randrange(1000, 3000))]
        if seed % 5 == 0:
            breaks.append((chance.randrange(400, len(TALK)), inf))
        async with relay_to(url, breaks) as relay:
            events = await caption(relay.url, seed)
            n_broken += relay.n_broken
        assert transcript(events) == transcript(unbroken), seed
        starts = [event.utterance for event in events if isinstance(event, SpeechStart)]
        assert starts == list(range(4)), seed
        assert sum(isinstance(event, Ready) for event in events) == 1
        assert events[-1] == End(len(TALK) // 32, 4, "stop"), seed
    assert n_broken >= N_BREAKS - 5  # a few streams are over before their break would have come


async def finals_read(url: str, name: str, reader_token: str | None) -> list[Final]:
    async with watch(url, name, reader_token=reader_token) as reader:
        return [event async for event in reader if isinstance(event, Final)]


async def test_a_reader_whose_connections_break_anywhere_reads_each_final_once(url: str) -> None:
    """It reads a session by its id, private or not, or a room by its name."""
    n_broken = 0
    for seed in range(9):
        chance = random.Random(seed)
        room = RoomEntry(f"room-{seed}", "the secret of a room") if seed % 3 == 0 else None
        breaks = [(float("inf"), chance.randrange(700, 3000)) for _ in range(3)]
        settings = replace(SETTINGS, room=room, private=seed % 2 == 0)
        async with relay_to(url, breaks) as relay, connect(url, settings) as stream:
            name = room.name if room else stream.ready.session
            reading = asyncio.ensure_future(finals_read(relay.url, name, stream.ready.reader_token))
            async for piece in pieces(chance):
                await stream.send_audio(piece)
            await stream.stop(end_room=True)
            finals = [event async for event in stream if isinstance(event, Final)]
            async with asyncio.timeout(20):
                read = await reading
            n_broken += relay.n_broken
        assert [(each.utterance, each.text) for each in read] == [(each.utterance, each.text) for each in finals], seed
    assert n_broken >= 9


@pytest.mark.parametrize(("name", "code"), [("nobody", "unknown_room"), ("private", "wrong_token")])
async def test_a_reader_that_is_refused_gets_an_error_with_the_code(url: str, name: str, code: str) -> None:
    room = RoomEntry("private", "the secret of a room")
    async with connect(url, StreamSettings(private=True, room=room)) as stream:
        with pytest.raises(StreamRefused) as refused:
            async with watch(url, name, reader_token="wrong"):
                pass
        await stream.stop(end_room=True)
    assert refused.value.code == code


async def test_a_publisher_who_is_away_for_a_while_goes_on_where_they_were(url: str) -> None:
    """A laptop sleeps: the audio of that time waits in the client."""
    unbroken = transcript(await caption(url))
    async with relay_to(url) as relay, connect(relay.url, SETTINGS) as stream:
        events: list[StreamEvent] = []

        async def read() -> None:
            async for event in stream:
                events.append(event)

        reading = asyncio.ensure_future(read())
        third = len(TALK) // 3
        await stream.send_audio(TALK[:third])
        relay.cut()
        await stream.send_audio(TALK[third : 2 * third])
        await asyncio.sleep(0.5)  # a few attempts to connect fail
        relay.up = True
        await stream.send_audio(TALK[2 * third :])
        await stream.stop()
        await asyncio.wait_for(reading, 20)
        assert transcript(events) == unbroken


async def test_a_flush_is_sent_again_with_the_audio_around_it(url: str) -> None:
    async with relay_to(url) as relay, connect(relay.url, SETTINGS) as stream:
        relay.cut()
        await stream.send_audio(TALK[: 32 * 900])
        await stream.flush("here")
        await stream.send_audio(TALK[32 * 900 :])
        await stream.stop()
        relay.up = True
        events = [event async for event in stream]
    assert [event for event in events if isinstance(event, Flushed)] == [Flushed("here")]
    assert [final.end_ms for final in transcript(events)][:1] == [900]
    assert len(transcript(events)) == 5


async def test_a_client_that_is_not_back_in_time_gets_an_error_that_the_stream_is_lost(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livecaption.client.opening.MAX_ABSENCE_S", 0.3)
    async with relay_to(url) as relay, connect(relay.url, SETTINGS) as stream:
        relay.cut()
        with pytest.raises(StreamClosed, match="the connection was lost"):
            async for _ in stream:
                pass
        with pytest.raises(StreamClosed):
            await stream.send_audio(TALK)


async def read_all(stream: Stream) -> None:
    async for _ in stream:
        pass


async def test_a_second_client_with_the_token_takes_over_and_the_first_does_not_fight_for_it(url: str) -> None:
    async with connect(url, SETTINGS) as first, connect(url, SETTINGS) as second:
        second.ready = first.ready
        second.last_seq = first.last_seq
        second._socket._writer.transport.abort()
        reading = asyncio.ensure_future(read_all(second))
        with pytest.raises(StreamClosed, match="another connection has taken over"):
            async for _ in first:
                pass
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
