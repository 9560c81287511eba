"""A server whose transcripts are in PostgreSQL: nothing is lost or doubled, whichever of the two dies."""

import asyncio
import os
import random
import re
import signal
from pathlib import Path

import pytest

from livecaption.client import transcribe
from livecaption.events import End, Ready
from livecaption.server.process_state import EXIT_AWAY
from livecaption.store.rows import SessionState
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.processes import assert_clean_end, serving
from tests.support.restarts import (
    SETTINGS,
    TALK,
    Reader,
    assert_same_utterances,
    captioned,
    finals_of,
    paced,
    restarted,
)
from tests.support.stored import session_state, stored_texts
from tests.support.streaming import speaking

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
N_KILLS = 3


@pytest.mark.timeout(300)
async def test_the_death_of_server_and_database_costs_and_doubles_no_word(
    cluster: Cluster, unused_tcp_port: int
) -> None:
    chance = random.Random(1)
    async with restarted(cluster.empty_database(), unused_tcp_port) as servers:
        unbroken = finals_of(await captioned(servers.url))
        assert len(unbroken) == 7
        events = []
        talking = asyncio.ensure_future(transcribe(servers.url, paced(), events.append, SETTINGS))
        await eventually(lambda: events)
        assert isinstance(events[0], Ready)
        session = events[0].session
        await eventually(lambda: session_state(cluster, session) is SessionState.OPEN)
        reader = Reader(servers.url, session)
        reading = asyncio.ensure_future(reader.run())
        for n in range(N_KILLS):
            await asyncio.sleep(chance.uniform(0.1, 1.0))  # a random moment, not that of an event
            if n == 0:
                cluster.stop(signal.SIGQUIT)
                await servers.server.logged("transcripts cannot be stored", within_s=20)
                cluster.start()
                await servers.server.logged("transcripts are stored again", within_s=20)
            else:
                await servers.kill()
                await servers.start()
        async with asyncio.timeout(30):
            end = await talking
            await reading
        finals = finals_of(events)
        assert_same_utterances(finals, unbroken)
        assert end == End(len(TALK) // 32, len(unbroken), "stop")
        assert list(reader.lines.items()) == [(final.utterance, final.text) for final in finals]
        assert stored_texts(cluster, session) == list(reader.lines.items())
        assert session_state(cluster, session) is SessionState.ENDED


async def test_a_stop_in_order_stores_all_finals_and_leaves_the_sessions_to_another_server(cluster: Cluster) -> None:
    async with serving("--store", cluster.empty_database()) as server:
        async with speaking(await server.ready(), n=2) as publishers:
            await publishers[0].received("final")
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=5) == 0
            await assert_clean_end(server)
        for publisher in publishers:
            assert (publisher.close_code, publisher.of("end"), publisher.of("error")) == (1012, [], [])
            session = publisher.of("ready")[0]["session"]
            assert session_state(cluster, session) is SessionState.INTERRUPTED
            stored = [text for _, text in stored_texts(cluster, session)]
            assert stored == [each["text"] for each in publisher.of("final")]
            assert len(stored) == len(publisher.of("speech_start"))


async def test_a_server_that_starts_before_its_database_waits_for_it(cluster: Cluster) -> None:
    address = cluster.empty_database()
    cluster.stop()
    async with serving("--store", address) as server:
        try:
            await server.logged("WARNING .*nothing answers there .*; the server tries again for 60 s")
        finally:
            cluster.start()
        async with speaking(await server.ready(), n=1) as publishers:
            await publishers[0].received("final")
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=5) == 0
        assert stored_texts(cluster, publishers[0].of("ready")[0]["session"])


async def test_a_stop_of_a_server_that_waits_for_its_database_is_in_order(unused_tcp_port: int) -> None:
    async with serving("--store", f"postgresql://me:secret@127.0.0.1:{unused_tcp_port}/x") as server:
        await server.logged("WARNING .*nothing answers there")
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=5) == 0
        assert " ERROR " not in server.output
        await assert_clean_end(server)


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_database_that_stays_away_ends_the_start_with_a_code_after_which_another_one_makes_sense(
    unused_tcp_port: int, tmp_path: Path, processes: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text("from livecaption.store import opening\nopening.PATIENCE_S = 0.5\n")
    impatient = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    address = f"postgresql://me:secret@127.0.0.1:{unused_tcp_port}/x"
    async with serving(f"--processes={processes}", "--store", address, environment=impatient) as server:
        assert await server.exited(within_s=60) == EXIT_AWAY
        assert "started again" not in server.output
        await server.logged("ERROR livecaption.*: cannot keep transcripts in .*: nothing answers there")
        assert "secret" not in server.output
        await assert_clean_end(server)
    unit = (ROOT / "packaging" / "livecaption.service").read_text()
    assert str(EXIT_AWAY) not in re.search("RestartPreventExitStatus=(.*)", unit)[1].split()


async def test_a_database_that_cannot_be_used_ends_the_start_with_one_line_and_code_3(cluster: Cluster) -> None:
    place = f"postgresql://127.0.0.1:{cluster.port}/"
    for address, reason in (
        (cluster.address("nowhere"), f"cannot keep transcripts in {place}nowhere: database .* does not exist"),
        (cluster.address("postgres", "wrong-pass"), f"cannot keep transcripts in {place}postgres: password auth"),
        ("postgresql://me:wrong-pass@host:port/x", "--store must be as postgresql://USER@HOST"),
    ):
        async with serving("--store", address) as server:
            assert await server.exited(within_s=20) == 3
            await server.logged(f"ERROR livecaption: {reason}")
            assert "wrong-pass" not in server.output
            await assert_clean_end(server)
