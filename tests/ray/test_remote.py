"""Servers whose engine runs in an actor of a real Ray cluster, with token and TLS.

The bounds are for a busy machine; docs/remote-gpus.md has measured times. The last test ends the cluster.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.ray.conftest import Cluster
from tests.support.commands import ROOT
from tests.support.eventually import eventually
from tests.support.processes import TIMEOUT_FACTOR, ProcessEnd, ServerProcess, assert_clean_end, serving
from tests.support.streaming import Publisher, speaking

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

GONE_WITHIN_S = 0.25
START_S = 60.0
"""The import of Ray takes three seconds, and many more on a busy machine."""


@asynccontextmanager
async def far_server(cluster: Cluster, *flags: str, n_workers: int = 1) -> AsyncIterator[tuple[ServerProcess, str]]:
    """A server whose workers are ready, each with a quarter of a GPU, and its address."""
    async with serving("--device", "ray:0.25", f"--workers={n_workers}", "--max-streams=20", *flags) as server:
        for number in range(1, n_workers + 1):
            await server.logged(f"worker {number} is ready", START_S)
        yield server, await server.ready()
        server.send(signal.SIGKILL)
        await eventually(lambda: cluster.actors() == [])


def check_finals(publishers: list[Publisher]) -> None:
    """Check that each utterance has one final with text, and that no error was reported."""
    for publisher in publishers:
        publisher.check_complete()


async def test_captions_come_from_an_actor_and_a_stop_in_mid_sentence_loses_none(cluster: Cluster) -> None:
    """Row 10: Ray's own handler of signals does not end the driver."""
    async with far_server(cluster) as (server, url):
        async with aiohttp.ClientSession() as http, http.get(f"{url}v1/info") as answer:
            assert "ray (cpu)" in await answer.text()
        [actor] = cluster.actors()
        with ProcessEnd(actor) as end:
            async with speaking(url, n=2) as publishers:
                for publisher in publishers:
                    await publisher.received("final")
                    await publisher.received("speech_start", utterance=1)
                server.send_to_all(signal.SIGTERM)
            assert await server.exited(within_s=8.0) == 0
            await end.wait(5.0)
        check_finals(publishers)
        await assert_clean_end(server)


async def test_the_actor_of_a_killed_server_is_gone(cluster: Cluster) -> None:
    for _ in range(3):
        async with far_server(cluster) as (server, _):
            with ProcessEnd(cluster.actors()[0]) as actor:
                server.send(signal.SIGKILL)
                await server.exited(within_s=5.0)
                ended_s = await actor.wait(5.0)
                print(f"gone after {1000 * (ended_s - server.ended_s):.0f} ms")
                assert ended_s - server.ended_s <= GONE_WITHIN_S * TIMEOUT_FACTOR


async def test_an_actor_without_beats_ends_itself(cluster: Cluster) -> None:
    """Nobody kills the driver here, and its connections stay open, as those of a machine whose network is cut."""
    async with far_server(cluster) as (server, _):
        with ProcessEnd(cluster.actors()[0]) as actor:
            server.send_to_all(signal.SIGSTOP)
            stopped_s = asyncio.get_running_loop().time()
            ended_s = await actor.wait(6.0)
            print(f"gone after {ended_s - stopped_s:.1f} s")
            assert ended_s - stopped_s > 3.5


async def test_finals_of_a_driver_that_stands_still_come_from_another_worker(cluster: Cluster) -> None:
    async with far_server(cluster, n_workers=2) as (server, url):
        actors = cluster.actors()
        async with speaking(url, n=4) as publishers:
            for publisher in publishers:
                await publisher.received("speech_start")
            os.kill(server.worker_pids[0], signal.SIGSTOP)
            for publisher in publishers:
                await publisher.received("final", within_s=30.0)
            await eventually(lambda: len(set(actors) & set(cluster.actors())) == 1, within_s=10.0)
            server.send(signal.SIGTERM)
        check_finals(publishers)


async def test_the_death_of_an_actor_in_mid_speech_costs_no_final(cluster: Cluster) -> None:
    """Row 41, for an actor: its worker ends at once and the next one starts another actor."""
    async with far_server(cluster, "--model", "delay 0.1", n_workers=2) as (server, url):
        async with speaking(url, n=8) as publishers:
            for n_deaths in range(1, 3):
                for publisher in publishers:
                    await publisher.received("speech_start", utterance=n_deaths - 1)
                os.kill(cluster.actors()[0], signal.SIGKILL)
                await server.logged(f"worker {n_deaths + 2} is ready", START_S)
            server.send(signal.SIGTERM)
        check_finals(publishers)


async def test_an_actor_that_dies_while_nobody_speaks_is_replaced(cluster: Cluster) -> None:
    async with far_server(cluster) as (server, _):
        os.kill(cluster.actors()[0], signal.SIGKILL)
        await server.logged("worker 1 exited with status 3: The engine on the machine of the GPU is lost")
        await server.logged("worker 2 is ready", START_S)


async def test_without_a_free_gpu_a_server_ends_with_3_and_names_the_way_out(cluster: Cluster) -> None:
    async with far_server(cluster, "--device", "ray", n_workers=2):
        await refused("No GPU of the Ray cluster was free for --device ray within 8 s", "--load-timeout=8")


CANNOT_JOIN = [
    ({"RAY_AUTH_TOKEN": "0" * 64}, "No Ray cluster has answered within 6 s"),
    ({"RAY_AUTH_TOKEN": "", "HOME": "/nonexistent"}, "Ray cannot join the cluster: .*token"),
    ({"RAY_AUTH_MODE": "disabled"}, "No Ray cluster has answered within 6 s"),
    ({"RAY_USE_TLS": "0"}, "No Ray cluster has answered within 6 s"),
    ({"RAY_ADDRESS": "127.0.0.1:9"}, r"No Ray cluster has answered within 6 s .*address: 127.0.0.1:9\)"),
    ({"RAY_ADDRESS": "ray://127.0.0.1:10001"}, "RAY_ADDRESS is ray://127.0.0.1:10001: use HOST:PORT"),
]
"""Variables of the environment that are wrong, and the sentence that the log has then."""


async def test_a_server_that_cannot_join_ends_with_3_and_a_sentence(cluster: Cluster) -> None:
    await asyncio.gather(*(refused(sentence, "--load-timeout=6", **wrong) for wrong, sentence in CANNOT_JOIN))


@pytest.mark.parametrize(
    ("library", "sentence"),
    [
        ("ray", r"Ray cannot join the cluster: .*0\.0\.1"),
        ("livecaption", r"The machine of the GPU has livecaption \S+, and this one 0\.0\.1"),
    ],
)
async def test_another_version_is_refused_with_both_versions(
    library: str, sentence: str, cluster: Cluster, tmp_path: Path
) -> None:
    """Python runs `sitecustomize` at the start of each process."""
    (tmp_path / "sitecustomize.py").write_text(f"import {library}; {library}.__version__ = '0.0.1'\n")
    await refused(sentence, PYTHONPATH=f"{tmp_path}:{ROOT}")


async def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError\n")
    await refused("--device ray needs Ray: pip install 'livecaption-server\\[ray]'", PYTHONPATH=f"{tmp_path}:{ROOT}")


async def refused(sentence: str, *flags: str, **variables: str) -> None:
    """Check that a server does not start and logs this sentence."""
    async with serving("--device", "ray", "--workers=1", *flags, environment=variables) as server:
        await server.logged(sentence, START_S)
        assert await server.exited(within_s=5.0) == 3


async def test_a_server_outlives_the_raylet_of_its_machine(cluster: Cluster) -> None:
    """It recovers; a driver ends with its raylet, so Ray is in no server process."""
    async with far_server(cluster) as (server, url):
        cluster.raylet().kill()
        await server.logged("next one starts")
        async with aiohttp.ClientSession() as http, http.get(f"{url}readyz") as answer:
            assert (await answer.json())["state"] == "recovering"
        assert server.process.poll() is None
