"""A room of several servers with one database, or of several processes of one server, lives in one place at a time."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse

from tests.live.test_connection import resume
from tests.support.processes import serving
from tests.support.rooms import TALK, enter, said
from tests.support.serving import read_event, read_to_the_close
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
    assert await code_of(await enter(site.doors[1])) == "room_taken"  # its publisher may come back
    second = await enter(site.doors[1], take_over=True)
    assert (await read_event(second))["type"] == "ready"
    again = await resume(site.doors[1], ready, caption["seq"])
    assert await code_of(again) in ("unknown_session", "session_ended")
    await said(second, TALK)
    await second.send_json({"type": "stop"})
    assert (await read_to_the_close(second))[-1]["reason"] == "stop"
    async with site.doors[1].get("/v1/rooms/pycon") as response:
        room = await response.json()
    assert room["parts"][0]["session"] == ready["session"]
    assert len(room["parts"]) == 2
