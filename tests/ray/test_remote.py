"""A server whose engine runs in actors of a real Ray cluster. The tests share it, and the last one stops it.

The bounds are for a busy machine; docs/remote-gpus.md has measured times.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.ray.conftest import Cluster
from tests.ray.servers import START_S, FarServer, check_finals, far_server, stop_all
from tests.support.commands import ROOT
from tests.support.eventually import eventually
from tests.support.processes import assert_clean_end
from tests.support.streaming import speaking

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

N_DEATHS = 2


@pytest_asyncio.fixture(scope="module")
async def server(cluster: Cluster) -> AsyncIterator[FarServer]:
    async with far_server(cluster, "--model", "delay 0.1", n_workers=2) as server:
        yield server


async def test_a_batch_there_and_back_takes_at_most_four_times_as_long_as_by_a_pipe(cluster: Cluster) -> None:
    command = (sys.executable, "-m", "tests.ray.round_trips")
    driver = await asyncio.create_subprocess_exec(
        *command, env=os.environ | cluster.variables, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await driver.communicate()
    print(output.decode())
    assert driver.returncode == 0, output.decode()
    for size in json.loads(output).values():
        [ray_ms, _], [pipe_ms, _] = size["ray"], size["pipe"]
        assert ray_ms <= 4 * pipe_ms
    await eventually(lambda: cluster.actors() == [])


async def test_the_death_of_an_actor_in_mid_speech_costs_no_final(server: FarServer, cluster: Cluster) -> None:
    """Row 41, for an actor: its worker ends at once and the next one starts another actor."""
    async with speaking(server.url, n=8) as publishers:
        for n_deaths in range(N_DEATHS):
            for publisher in publishers:
                await publisher.received("speech_start", utterance=n_deaths)
            os.kill(min(cluster.actors()), signal.SIGKILL)  # the older one: a worker that dies at once waits longer
            await server.process.logged(f"worker {n_deaths + 3} is ready", START_S)
        await stop_all(publishers)
    check_finals(publishers, "stop", 1000)


async def test_an_actor_that_dies_while_nobody_speaks_is_replaced(server: FarServer, cluster: Cluster) -> None:
    await server.whole()
    n_lost = server.n_lines("The engine on the machine of the GPU is lost")
    os.kill(cluster.actors()[0], signal.SIGKILL)
    await eventually(lambda: server.n_lines("The engine on the machine of the GPU is lost") > n_lost)
    await server.whole()


async def test_finals_of_a_driver_that_stands_still_come_from_another_worker(
    server: FarServer, cluster: Cluster
) -> None:
    await server.whole()
    actors = cluster.actors()
    async with speaking(server.url, n=4) as publishers:
        for publisher in publishers:
            await publisher.received("speech_start")
        os.kill(server.process.worker_pids[0], signal.SIGSTOP)
        for publisher in publishers:
            await publisher.received("final", within_s=30.0)
        await eventually(lambda: len(set(actors) & set(cluster.actors())) == 1)
        await stop_all(publishers)
    check_finals(publishers, "stop", 1000)


async def test_captions_come_from_an_actor_and_a_stop_in_mid_sentence_loses_none(
    server: FarServer, cluster: Cluster
) -> None:
    """Row 10: Ray's own handler of signals does not end the driver."""
    await server.whole()
    assert "ray (cpu)" in str(await server.get("v1/info"))
    async with speaking(server.url, n=2) as publishers:
        for publisher in publishers:
            await publisher.received("final")
            await publisher.received("speech_start", utterance=1)
        server.process.send_to_all(signal.SIGTERM)
        assert await server.process.exited(within_s=8.0) == 0
        await eventually(lambda: cluster.actors() == [], within_s=5.0)
    check_finals(publishers)
    await assert_clean_end(server.process)
