"""Machines of a cluster fail as a whole, and the network between them does. The last test ends the cluster."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.ray.conftest import Cluster
from tests.ray.servers import FarServer, check_finals, far_server, stop_all
from tests.support.eventually import eventually
from tests.support.processes import TIMEOUT_FACTOR, ProcessEnd
from tests.support.streaming import speaking

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

N_KILLS = 1
GONE_WITHIN_S = 0.25


@pytest_asyncio.fixture(scope="module")
async def server(cluster: Cluster) -> AsyncIterator[FarServer]:
    async with far_server(cluster) as server:
        yield server


async def test_the_actor_of_a_killed_server_is_gone(cluster: Cluster) -> None:
    for _ in range(N_KILLS):
        async with far_server(cluster) as server:
            with ProcessEnd(cluster.actors()[0]) as actor:
                server.process.send(signal.SIGKILL)
                await server.process.exited(within_s=5.0)
                ended_s = await actor.wait(5.0)
                print(f"gone after {1000 * (ended_s - server.process.ended_s):.0f} ms")
                assert ended_s - server.process.ended_s <= GONE_WITHIN_S * TIMEOUT_FACTOR


async def test_an_actor_that_is_cut_off_ends_itself_and_another_worker_makes_the_finals(cluster: Cluster) -> None:
    """Without the right to make a network that can be cut, the driver stands still, and its connections stay open."""
    async with far_server(cluster, "--device", "ray:0.25,cpu", n_workers=2) as server:
        async with speaking(server.url, n=4) as publishers:
            for publisher in publishers:
                await publisher.received("speech_start")
            with ProcessEnd(cluster.actors()[0]) as actor:
                cut_s = asyncio.get_running_loop().time()
                if cluster.far:
                    cluster.far.unplug()
                else:
                    os.kill(server.process.worker_pids[0], signal.SIGSTOP)
                ended_s = await actor.wait(6.0)
                print(f"gone after {ended_s - cut_s:.1f} s")
                assert ended_s - cut_s > 3.5
            # These were spoken while the network was away.
            for publisher in publishers:
                await publisher.received("final", utterance=1)
            if cluster.far:
                cluster.far.plug_in()
            await stop_all(publishers)
        check_finals(publishers, "stop", 1000)


async def test_no_stream_ends_when_the_head_is_killed_and_the_cluster_started_again(
    server: FarServer, cluster: Cluster
) -> None:
    """Engines that run go on without the head. A cluster that is started again has lost them."""
    async with speaking(server.url, n=2) as publishers:
        for publisher in publishers:
            await publisher.received("speech_start")
        cluster.kill("gcs_server")
        for publisher in publishers:
            await publisher.received("final", utterance=0)
            await publisher.received("speech_start", utterance=1)
        assert "the next one starts" not in server.process.output
        cluster.end()
        await server.process.logged("the next one starts")
        await asyncio.to_thread(cluster.start)
        await server.whole()
        for publisher in publishers:
            await publisher.received("final", utterance=1)
        await stop_all(publishers)
    check_finals(publishers, "stop", 1000)


async def test_no_stream_ends_with_the_raylet_of_the_servers_machine(server: FarServer, cluster: Cluster) -> None:
    """Its drivers end, so Ray is in no server process. The next one takes the other raylet that it finds."""
    n_deaths = server.n_lines("the next one starts")
    async with speaking(server.url, n=2) as publishers:
        for publisher in publishers:
            await publisher.received("speech_start")
        cluster.kill("raylet")
        await eventually(lambda: server.n_lines("the next one starts") > n_deaths, within_s=30.0)
        assert (await server.get("readyz"))["state"] == "recovering"
        await server.whole()
        for publisher in publishers:
            await publisher.received("final")
        await stop_all(publishers)
    check_finals(publishers, "stop", 1000)
