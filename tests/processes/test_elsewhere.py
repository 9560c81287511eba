"""Readers at one server, the publisher at others that are killed: each reader ends with the whole transcript."""

import asyncio
import signal

import pytest

from livecaption.client import StreamEvent, transcribe
from livecaption.events import Final, Partial, Ready
from tests.processes.test_takeover import two_servers
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.processes import serving
from tests.support.restarts import SETTINGS, Reader, finals_of, paced
from tests.support.stored import stored_texts

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


async def test_readers_at_other_servers_get_every_final_once_when_servers_of_the_publisher_are_killed(
    cluster: Cluster,
) -> None:
    """One of the readers is at a server that never has the session, the other where it goes on."""
    store = cluster.empty_database()
    async with two_servers(store) as balancer, serving("--store", store) as third:
        url = await third.ready()
        events: list[StreamEvent] = []
        talking = asyncio.ensure_future(transcribe(balancer.url, paced(), events.append, SETTINGS))
        await eventually(lambda: any(isinstance(event, Partial) for event in events))
        assert isinstance(events[0], Ready)
        session = events[0].session
        readers = [Reader(url, session), Reader(balancer.urls[1], session)]
        reading = [asyncio.ensure_future(reader.run()) for reader in readers]
        await eventually(lambda: all(reader.lines for reader in readers))
        balancer.server.send(signal.SIGKILL)
        balancer.switch()
        # A reader that comes now has its snapshot soon, whether the session goes on already or not.
        late = Reader(url, session)
        reading.append(asyncio.ensure_future(late.run()))
        await eventually(lambda: late.events)
        async with asyncio.timeout(60):
            await talking
            await asyncio.gather(*reading)
        finals: list[Final] = finals_of(events)
        spoken = {final.utterance: final.text for final in finals}
        assert [reader.lines for reader in (*readers, late)] == [spoken] * 3
        assert stored_texts(cluster, session) == list(spoken.items())
        assert "Traceback" not in third.output


async def test_a_session_of_another_machine_is_read_at_each_process_of_a_server(cluster: Cluster) -> None:
    store = cluster.empty_database()
    async with serving("--store", store) as one, serving("--store", store, "--processes", "2") as several:
        home, url = await one.ready(), await several.ready()
        events: list[StreamEvent] = []
        talking = asyncio.ensure_future(transcribe(home, paced(), events.append, SETTINGS))
        await eventually(lambda: events)
        assert isinstance(events[0], Ready)
        readers = [Reader(url, events[0].session) for _ in range(8)]  # the kernel deals them out
        async with asyncio.timeout(60):
            await asyncio.gather(*(reader.run() for reader in readers), talking)
        spoken = {final.utterance: final.text for final in finals_of(events)}
        assert [reader.lines for reader in readers] == [spoken] * 8
        assert "Traceback" not in several.output
