"""A room of several servers with one database, or of several processes of one server, lives in one place at a time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse

from tests.live.test_connection import resume
from tests.support.eventually import eventually
from tests.support.processes import serving
from tests.support.rooms import TALK, RoomReader, enter, put, said
from tests.support.serving import SPEECH, read_event, read_to_the_close, read_until
from tests.support.siblings import pids, process_of_stream

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


class Site:
    """The doors by which clients come, each of one server.

    Attributes:
        doors: of two servers; or twice the same, which leads to whichever process is quicker.
    """

    def __init__(self, doors: list[Any], kill_first: Callable[[], Any]) -> None:
        self.doors = doors
        self.kill_first = kill_first
        """Kills the server or process in which the only publisher speaks, who came by the first door."""


@pytest.fixture(params=["servers", "processes"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        if request.param == "servers":
            address = request.getfixturevalue("cluster").empty_database()
            servers = [await stack.enter_async_context(serving("--store", address)) for _ in range(2)]
            urls = [await server.ready() for server in servers]

            async def kill_first() -> None:
                servers[0].send(signal.SIGKILL)
                await servers[0].exited(within_s=5)

        else:
            server = await stack.enter_async_context(serving("--processes=2", f"--store={tmp_path / 'store.db'}"))
            urls = [await server.ready()] * 2

            async def kill_first() -> None:
                os.kill(pids(server)[await process_of_stream(urls[0])], signal.SIGKILL)

        doors = [await stack.enter_async_context(aiohttp.ClientSession(url)) for url in urls]
        yield Site(doors, kill_first)


async def code_of(socket: ClientWebSocketResponse) -> str:
    [error] = await read_to_the_close(socket)
    return str(error["code"])


async def come_back(door: Any, ready: dict[str, Any], last_seq: int) -> ClientWebSocketResponse:
    """Resume a session as clients do: they ask again where they are refused for a moment."""
    while True:
        try:
            return await resume(door, ready, last_seq)
        except aiohttp.WSServerHandshakeError as refusal:
            if refusal.status != 503:
                raise
        await asyncio.sleep(0.1)


async def test_a_second_publisher_is_refused_wherever_it_comes_and_takes_the_room_over_from_there(site: Site) -> None:
    first = await enter(site.doors[0])
    await read_event(first)
    for n in range(8):
        assert await code_of(await enter(site.doors[n % 2])) == "room_taken"
        assert await code_of(await enter(site.doors[n % 2], in_address=True)) == "room_taken"
    await said(first, TALK)
    for n in range(1, 5):
        second = await enter(site.doors[n % 2], take_over=True)
        assert (await read_event(second))["type"] == "ready"
        assert (await read_to_the_close(first))[-1]["reason"] == "replaced"
        await said(second, TALK)
        first = second
    await first.close()


async def test_the_room_of_a_killed_server_goes_on_with_its_publisher(site: Site) -> None:
    first = await enter(site.doors[0])
    ready = await read_event(first)
    caption = await said(first, TALK)
    await site.kill_first()
    again = await resume(site.doors[1], ready, caption["seq"])
    assert (await read_event(again))["session"] == ready["session"]
    assert await code_of(await enter(site.doors[1])) == "room_taken"
    assert (await said(again, TALK))["utterance"] == 1
    await again.close()


async def test_the_room_of_a_killed_server_is_free_for_a_publisher_who_takes_over(site: Site) -> None:
    first = await enter(site.doors[0])
    ready = await read_event(first)
    caption = await said(first, TALK)
    await site.kill_first()
    while (code := await code_of(await enter(site.doors[1]))) == "overloaded":  # noqa: ASYNC110 - asked each time
        await asyncio.sleep(0.1)  # the session has its slot in the other process, and is not yet in the room there
    assert code == "room_taken"  # its publisher may come back
    second = await enter(site.doors[1], take_over=True)
    assert (await read_event(second))["type"] == "ready"
    again = await come_back(site.doors[1], ready, caption["seq"])
    assert await code_of(again) in ("unknown_session", "session_ended")
    await said(second, TALK)
    await second.send_json({"type": "stop"})
    assert (await read_to_the_close(second))[-1]["reason"] == "stop"
    async with site.doors[1].get("/v1/rooms/pycon") as response:
        room = await response.json()
    assert room["parts"][0]["session"] == ready["session"]
    assert len(room["parts"]) == 2


@asynccontextmanager
async def audience(site: Site) -> AsyncIterator[list[RoomReader]]:
    """Let people wait for an event at all doors. At its end, the event is over and everybody has gone."""
    await put(site.doors[0])
    readers = [RoomReader(site.doors[n % 2]) for n in range(8)]
    reading = [asyncio.ensure_future(reader.run()) for reader in readers]
    await eventually(lambda: all(reader.states for reader in readers), 30)
    yield readers
    async with asyncio.timeout(60):
        await asyncio.gather(*reading)


async def test_people_read_all_parts_of_an_event_wherever_they_and_its_publishers_are(site: Site) -> None:
    spoken: dict[str, list[str]] = {}
    async with audience(site) as readers:
        for n in range(4):
            socket = await enter(site.doors[n % 2])
            session = (await read_event(socket))["session"]
            spoken[session] = []
            for _ in range(2):
                spoken[session].append((await said(socket, TALK))["text"])
                # Everybody reads it while the part goes on.
                await eventually(lambda: all(reader.texts.get(session) == spoken[session] for reader in readers), 30)  # noqa: B023
            await socket.send_json({"type": "stop", "end_room": n == 3})
            await read_to_the_close(socket)
    assert [reader.texts for reader in readers] == [spoken] * len(readers)


async def test_people_read_the_last_words_of_a_publisher_whose_room_is_taken_over_elsewhere(site: Site) -> None:
    spoken: dict[str, list[str]] = {}
    async with audience(site) as readers:
        former = await enter(site.doors[0])
        for n in range(1, 5):
            session = (await read_event(former))["session"]
            spoken[session] = [(await said(former, TALK))["text"]]
            await former.send_bytes(SPEECH)
            await read_until(former, "speech_start")
            following = await enter(site.doors[n % 2], take_over=True)
            spoken[session] += [event["text"] for event in await read_to_the_close(former) if event["type"] == "final"]
            former = following
        session = (await read_event(former))["session"]
        spoken[session] = [(await said(former, TALK))["text"]]
        await former.send_json({"type": "stop", "end_room": True})
        await read_to_the_close(former)
    assert [reader.texts for reader in readers] == [spoken] * len(readers)


async def test_people_read_on_when_the_server_in_which_somebody_speaks_is_killed(site: Site) -> None:
    await put(site.doors[0])
    readers = [RoomReader(site.doors[1]) for _ in range(6)]
    reading = [asyncio.ensure_future(reader.run()) for reader in readers]
    first = await enter(site.doors[0])
    ready = await read_event(first)
    caption = await said(first, TALK)
    spoken = {ready["session"]: [caption["text"]]}
    await eventually(lambda: all(reader.texts == spoken for reader in readers), 30)
    await site.kill_first()
    again = await resume(site.doors[1], ready, caption["seq"])
    assert (await read_event(again))["session"] == ready["session"]
    spoken[ready["session"]].append((await said(again, TALK))["text"])
    await again.send_json({"type": "stop"})
    await read_to_the_close(again)
    last = await enter(site.doors[1])
    session = (await read_event(last))["session"]
    spoken[session] = [(await said(last, TALK))["text"]]
    await last.send_json({"type": "stop", "end_room": True})
    await read_to_the_close(last)
    async with asyncio.timeout(60):
        await asyncio.gather(*reading)
    assert [reader.texts for reader in readers] == [spoken] * len(readers)
