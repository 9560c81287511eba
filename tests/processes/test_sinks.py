"""A server with sinks from a file: their captions are complete, and it stops in order also beside a stuck service."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from livecaption.client import RoomEntry, StreamEvent, transcribe
from tests.support.eventually import eventually
from tests.support.processes import ServerProcess, assert_clean_end, serving
from tests.support.receivers import STUCK, CaptionReceiver, receiving
from tests.support.restarts import SETTINGS, finals_of, paced
from tests.support.siblings import client_of, pids, process_of_stream
from tests.support.speech import pcm_s16le, sound
from tests.support.streaming import speaking

pytestmark = pytest.mark.processes

ROOM = {"name": "pycon", "secret": "the secret of a room"}
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))
SECTION = '[[sink]]\nroom = "pycon"\nname = "{name}"\nservice = "streamtext"\nurl = "{url}"\n'


async def test_a_stop_in_mid_sentence_sends_every_word_also_beside_a_service_that_is_stuck(tmp_path: Path) -> None:
    """The log has no address."""
    async with receiving() as good, receiving() as stuck:
        stuck.always = STUCK
        good.outcomes.extend([200, 503])
        file = tmp_path / "sinks.toml"
        file.write_text(SECTION.format(name="good", url=good.url) + SECTION.format(name="stuck", url=stuck.url))
        async with serving("--sinks", str(file)) as server:
            url = await server.ready()
            async with speaking(url, pace=2.0, room=ROOM) as [publisher]:
                await publisher.streamed(6)
                server.send(signal.SIGTERM)
                assert await server.exited(5) == 0
            publisher.check_complete()
            await assert_clean_end(server)
        assert " ".join(" ".join(good.texts).split()) == publisher.text
        assert stuck.posts
        assert " ERROR " not in server.output
        assert "signature" not in server.output


async def test_a_file_that_cannot_be_used_ends_the_start_without_showing_it(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text(SECTION.format(name="good", url="ftp://example.org/a-secret"))
    async with serving("--sinks", str(file)) as server:
        assert await server.exited(10) == 3
    assert "sinks.toml: sink 1: url must be an address" in server.output
    assert "a-secret" not in server.output


async def said_in_part(http: aiohttp.ClientSession) -> list[str]:
    """Speak in a part of the room, and return the texts of its finals."""
    async with http.ws_connect("v1/stream?room=pycon") as publisher:
        await publisher.send_json({"type": "start", "room": ROOM})
        await publisher.send_bytes(SPEECH)
        await publisher.send_json({"type": "stop"})
        events = [json.loads(message.data) async for message in publisher]
    return [event["text"] for event in events if event["type"] == "final"]


def sent_to(receiver: CaptionReceiver) -> str:
    """Return all words that a receiver of youtube has, by their numbers."""
    return " ".join(map(words_of, receiver.texts))


def words_of(body: str) -> str:
    """Return the words of a text for youtube, which has its time in the first line."""
    return " ".join(body.partition("\n")[2].replace("<br>", " ").split())


@pytest.fixture(params=["a file", "the API"])
def of(request: pytest.FixtureRequest) -> str:
    """The place from which a sink is attached."""
    place: str = request.param
    return place


@asynccontextmanager
async def several(of: str, directory: Path) -> AsyncIterator[tuple[ServerProcess, CaptionReceiver]]:
    """Run two processes with a sink whose numbers begin at 1."""
    file = directory / "sinks.toml"
    async with receiving() as receiver:
        if of == "a file":
            file.write_text(SECTION.format(name="good", url=receiver.url).replace("streamtext", "youtube"))
        else:
            file.write_text("sink = []")
        flags = ("--processes=2", f"--sinks={file}", f"--store={directory / 'transcripts.db'}")
        async with serving(*flags) as server:
            url = await server.ready()
            if of == "the API":
                async with (
                    aiohttp.ClientSession(url) as http,
                    http.put("v1/rooms/pycon/sinks/good", json={"service": "youtube", "url": receiver.url}) as answer,
                ):
                    assert answer.status == 200
            yield server, receiver


async def test_a_sink_that_is_attached_and_detached_at_one_process_is_so_at_all(tmp_path: Path) -> None:
    async with several("the API", tmp_path) as (server, receiver):
        for at, answer in ((1, 204), (2, 404)):
            async with client_of(at, server) as http, http.delete("v1/rooms/pycon/sinks/good") as response:
                assert response.status == answer
            async with client_of(3 - at, server) as http, http.get("v1/rooms/pycon/sinks") as response:
                assert (await response.json())["sinks"] == []
        assert receiver.posts == []


async def test_parts_in_several_processes_have_one_sink_whose_numbers_go_on(of: str, tmp_path: Path) -> None:
    said: list[str] = []
    async with several(of, tmp_path) as (server, receiver):
        for number in (1, 2, 1):
            async with client_of(number, server) as http:
                said += await said_in_part(http)
                await receiver.took(len(said))
    assert sent_to(receiver) == " ".join(said)
    assert sorted(receiver.accepted) == list(range(1, len(said) + 1))


async def test_a_sink_goes_on_in_another_process_when_its_own_is_killed(of: str, tmp_path: Path) -> None:
    """Captions that the killed process had not sent yet are missing, and lines of the open utterance may come again."""
    events: list[StreamEvent] = []
    settings = replace(SETTINGS, room=RoomEntry(ROOM["name"], ROOM["secret"]))
    async with several(of, tmp_path) as (server, receiver):
        url = await server.listening()
        talking = asyncio.ensure_future(transcribe(url, paced(), events.append, settings))
        await receiver.took(2)
        os.kill(pids(server)[await process_of_stream(url)], signal.SIGKILL)
        async with asyncio.timeout(60):
            await talking
        finals = [final.text for final in finals_of(events)]
        await eventually(lambda: finals[-1].endswith(words_of(receiver.texts[-1])))
    # The killed process may have reported one number that it did not use any more. None has two texts.
    assert len(receiver.accepted) >= max(receiver.accepted) - 1
    assert len({(query["seq"], body) for query, body in receiver.posts}) == len(receiver.accepted) > 2
    at = 0
    for text in map(words_of, receiver.texts):  # in their order
        at = next(number for number in range(at, len(finals)) if text in finals[number])
