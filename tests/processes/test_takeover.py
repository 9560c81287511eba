"""Two servers with one database, and a balancer before them: whichever ends or hangs, no word is lost or doubled."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from livecaption.client import Reconnected, StreamEvent, transcribe
from livecaption.events import End, Final, Gap, Partial, Ready
from livecaption.store.rows import SessionState
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.processes import ServerProcess, serving
from tests.support.relay import Relay, accepting
from tests.support.restarts import SETTINGS, TALK, assert_same_utterances, captioned, finals_of, paced
from tests.support.stored import session_state, stored_texts

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


class Balancer:
    """Passes connections on to one of two servers."""

    def __init__(self, servers: list[ServerProcess], urls: list[str]) -> None:
        self.servers = servers
        self.urls = urls
        self.url = ""
        self._at = 0
        self._relay = Relay()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.urls[self._at])
        try:
            await self._relay.serve(reader, writer, parts.hostname, parts.port)
        except ConnectionError:
            writer.transport.abort()

    @property
    def server(self) -> ServerProcess:
        """The server that gets the connections."""
        return self.servers[self._at]

    def drain(self) -> ServerProcess:
        """Pass new connections on to the other server. Return the one that keeps those that it has."""
        former = self.server
        self._at = 1 - self._at
        return former

    def switch(self) -> None:
        """Break all connections, and pass the next ones on to the other server."""
        self.drain()
        self._relay.break_all()


@asynccontextmanager
async def two_servers(address: str, of_the_second: Mapping[str, str] | None = None) -> AsyncIterator[Balancer]:
    """Run two servers and a balancer. `of_the_second`: environment variables of the second server."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serving("--store", address, environment=environment))
            for environment in (None, of_the_second)
        ]
        balancer = Balancer(servers, [await server.ready() for server in servers])
        port = await stack.enter_async_context(accepting(balancer.serve))
        balancer.url = f"http://127.0.0.1:{port}/"
        try:
            yield balancer
        finally:
            balancer.switch()


async def check_a_talk(cluster: Cluster, balancer: Balancer, act: list[str]) -> None:
    """Let somebody talk while these things happen, and check that everybody gets all of it once."""
    unbroken = finals_of(await captioned(balancer.url))
    events: list[StreamEvent] = []
    talking = asyncio.ensure_future(transcribe(balancer.url, paced(), events.append, SETTINGS))
    await eventually(lambda: events)
    assert isinstance(events[0], Ready)
    session = events[0].session
    for n, action in enumerate(act):
        await eventually(lambda: any(isinstance(event, Partial) and event.utterance > n for event in events))  # noqa: B023
        former = balancer.server
        if action == "kill":
            former.send(signal.SIGKILL)
            await former.exited(within_s=5)
        elif action == "stop":
            former.send(signal.SIGSTOP)
        balancer.switch()
        # Another move before it is connected again would lead it back to where its session still is.
        await eventually(lambda: sum(isinstance(event, Reconnected) for event in events) > n, within_s=30)  # noqa: B023
        if action == "stop":
            # It goes on once the session is elsewhere, with the audio and the answers that it had.
            n_finals = len(finals_of(events))
            await eventually(lambda: len(finals_of(events)) > n_finals, within_s=20)  # noqa: B023
            former.send(signal.SIGCONT)
    async with asyncio.timeout(60):
        end = await talking
    finals: list[Final] = finals_of(events)
    assert_same_utterances(finals, unbroken)
    assert end == End(len(TALK) // 32, len(unbroken), "stop")
    assert stored_texts(cluster, session) == [(final.utterance, final.text) for final in finals]
    assert session_state(cluster, session) is SessionState.ENDED


async def test_a_session_goes_on_at_the_other_server_when_its_own_is_killed(cluster: Cluster) -> None:
    async with two_servers(cluster.empty_database()) as balancer:
        await check_a_talk(cluster, balancer, ["kill"])


async def test_a_session_moves_between_servers_that_live(cluster: Cluster) -> None:
    async with two_servers(cluster.empty_database()) as balancer:
        await check_a_talk(cluster, balancer, ["move", "move", "move"])
        assert all("is taken over" in server.output for server in balancer.servers)


async def test_a_server_that_hung_while_its_session_moved_on_changes_nothing_of_it(cluster: Cluster) -> None:
    async with two_servers(cluster.empty_database()) as balancer:
        await check_a_talk(cluster, balancer, ["stop"])
        assert "Traceback" not in balancer.servers[0].output


async def test_servers_whose_clocks_differ_by_an_hour_take_sessions_over(cluster: Cluster, tmp_path: Path) -> None:
    """The times that they compare are those of the database."""
    (tmp_path / "sitecustomize.py").write_text(
        "import time\nof_the_machine = time.time\ntime.time = lambda: of_the_machine() + 3600\n"
    )
    ahead = {"PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))}
    async with two_servers(cluster.empty_database(), ahead) as balancer:
        await check_a_talk(cluster, balancer, ["move", "kill"])


async def test_a_stop_in_order_moves_all_sessions_to_the_other_server_without_a_word_lost(cluster: Cluster) -> None:
    """An utterance that the stop cuts has two finals, which share no audio."""
    async with two_servers(cluster.empty_database()) as balancer:
        talks: list[list[StreamEvent]] = [[] for _ in range(3)]
        talking = [asyncio.ensure_future(transcribe(balancer.url, paced(), each.append, SETTINGS)) for each in talks]
        await eventually(lambda: all(any(isinstance(event, Partial) for event in events) for events in talks))
        stopping = balancer.drain()
        stopping.send(signal.SIGTERM)
        assert await stopping.exited(within_s=10) == 0
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*talking)
        for end, events in zip(ends, talks, strict=True):
            finals = finals_of(events)
            assert (end.reason, end.received_ms, end.utterances) == ("stop", len(TALK) // 32, len(finals))
            assert [final.utterance for final in finals] == list(range(len(finals)))
            assert all(one.end_ms <= other.start_ms for one, other in pairwise(finals))
            assert [event for event in events if isinstance(event, Gap) and event.end_ms > event.start_ms] == []
            assert len(finals) in (7, 8)
            assert stored_texts(cluster, events[0].session) == [(final.utterance, final.text) for final in finals]
            assert session_state(cluster, events[0].session) is SessionState.ENDED
