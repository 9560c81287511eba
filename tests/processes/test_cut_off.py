"""Two servers with one database behind the real HAProxy, and talks in which the database or the way to it fails."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from livecaption.client import Reconnecting, StreamEvent, transcribe
from livecaption.events import End, Final, Partial, Ready
from livecaption.recognition import SessionId, logged_id
from livecaption.store.rows import SessionState
from tests.processes.test_cells import cells
from tests.support import restarts
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.processes import ServerProcess
from tests.support.proxies import ROOT_NAME, unchecked
from tests.support.relay import relay_to_database
from tests.support.restarts import SETTINGS, TALK, assert_same_utterances, captioned, finals_of, paced
from tests.support.stored import session_state, stored_texts

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


class Talk:
    """A publisher of `restarts.TALK`, slow enough to last for longer than it takes to notice a cut."""

    def __init__(self, url: str) -> None:
        self.events: list[StreamEvent] = []
        talking = transcribe(url, paced(), self.events.append, SETTINGS, ssl=unchecked())
        self._talking = asyncio.ensure_future(talking)

    async def speaks(self) -> None:
        """Wait until its first utterance is open."""
        await eventually(lambda: any(isinstance(event, Partial) for event in self.events))

    @property
    def session(self) -> str:
        [ready, *_] = self.events
        assert isinstance(ready, Ready)
        return ready.session

    @property
    def n_reconnections(self) -> int:
        return sum(isinstance(event, Reconnecting) for event in self.events)

    async def is_complete(self, cluster: Cluster, unbroken: list[Final]) -> bool:
        """Check that each utterance is there and stored once. Return whether the publisher got no final twice.

        A final that came before the store had it may come again from the next server. Then the last one counts.
        """
        async with asyncio.timeout(60):
            end = await self._talking
        said = finals_of(self.events)
        finals = list({final.utterance: final for final in said}.values())
        assert_same_utterances(finals, unbroken)
        assert end == End(len(TALK) // 32, len(unbroken), "stop")
        await eventually(lambda: session_state(cluster, self.session) is SessionState.ENDED)
        assert stored_texts(cluster, self.session) == [(final.utterance, final.text) for final in finals]
        return len(said) == len(finals)


@pytest.fixture(autouse=True)
def slow_talks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "SPEED", 2.0)


UNBROKEN: list[Final] = []
"""The finals of a talk that nothing happens to, once one is made: they are the same in all tests."""


async def unbroken_at(server: ServerProcess) -> list[Final]:
    if not UNBROKEN:
        UNBROKEN.extend(finals_of(await captioned(await server.ready())))
    return UNBROKEN


async def session_of_a_new_stream(url: str) -> str:
    async with aiohttp.ClientSession() as http:
        stream = await http.ws_connect(f"{url}v1/stream", ssl=unchecked(), headers={"Host": ROOT_NAME})
        await stream.send_json({"type": "start"})
        ready = await stream.receive_json()
        await stream.send_json({"type": "stop"})
        await stream.close()
        return str(ready["session"])


async def is_ready(server: ServerProcess) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{await server.ready()}readyz") as response:
        return response.status == 200


async def test_the_talks_of_a_server_that_is_cut_off_go_on_at_the_other_one(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.empty_database()
    async with (
        relay_to_database(address) as (network, by_relay),
        cells("haproxy", tmp_path, [by_relay, address]) as (url, servers),
    ):
        unbroken = await unbroken_at(servers[1])
        talks = [Talk(url) for _ in range(4)]  # two at each, by `leastconn`
        for talk in talks:
            await talk.speaks()
        network.cut()
        await servers[0].logged("2 sessions may go on elsewhere", within_s=20)
        assert [await is_ready(server) for server in servers] == [False, True]
        for talk in talks:
            await talk.is_complete(cluster, unbroken)
        assert sorted(talk.n_reconnections > 0 for talk in talks) == [False, False, True, True]
        # The one that is cut off has the fewest connections, and yet HAProxy asks the other one.
        begun = [f"session={logged_id(SessionId(await session_of_a_new_stream(url)))} started" for _ in range(4)]
        assert all(line in servers[1].output for line in begun)
        network.up = True
        await servers[0].logged("the transcripts are reached again", within_s=20)
        assert await is_ready(servers[0])


async def test_talks_come_back_to_their_servers_where_the_database_answers_nobody(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with cells("haproxy", tmp_path, cluster.empty_database()) as (url, servers):
        unbroken = await unbroken_at(servers[1])
        talks = [Talk(url) for _ in range(4)]
        for talk in talks:
            await talk.speaks()
        with cluster.paused():
            for server in servers:
                await server.logged("2 sessions may go on elsewhere", within_s=20)
            n_finals = [len(finals_of(talk.events)) for talk in talks]
            await eventually(
                lambda: all(len(finals_of(talk.events)) > n for talk, n in zip(talks, n_finals, strict=True)), 30
            )
        assert [await talk.is_complete(cluster, unbroken) for talk in talks] == 4 * [True]
        assert [talk.n_reconnections for talk in talks] >= [1, 1, 1, 1]


async def test_no_talk_notices_that_the_database_dies_and_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    async with cells("haproxy", tmp_path, cluster.empty_database()) as (url, servers):
        unbroken = await unbroken_at(servers[1])
        talks = [Talk(url) for _ in range(4)]
        for talk in talks:
            await talk.speaks()
        cluster.stop(signal.SIGQUIT)  # as `pg_ctl stop -m immediate`
        try:
            await asyncio.sleep(8)  # for longer than a cut that others do not have
            assert all([await is_ready(server) for server in servers])
        finally:
            cluster.start()
        assert [await talk.is_complete(cluster, unbroken) for talk in talks] == 4 * [True]
        assert [talk.n_reconnections for talk in talks] == 4 * [0]
