"""The parent of several processes passes signals on, starts processes again, and is what systemd sees."""

import asyncio
import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from livecaption.client import StreamEvent, transcribe
from livecaption.events import End, Partial
from livecaption.server import certificate
from tests.support.eventually import eventually
from tests.support.processes import ServerProcess, assert_clean_end, serving
from tests.support.restarts import SETTINGS, TALK, assert_same_utterances, captioned, finals_of, paced
from tests.support.siblings import get, pids, process_of_stream
from tests.support.streaming import speaking
from tests.support.systemd import Systemd

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

FORCED_STOP_S = 2.0
"""Less than the answer takes that a stop in order would wait for."""
N_DEATHS = 5
"""Deaths in a row after which a process is started each 30 s only."""


def n_starts(server: ServerProcess, number: int) -> int:
    return len(re.findall(rf"process {number} started", server.output))


async def died_again_and_again(server: ServerProcess, number: int, n_before: int = 0) -> None:
    """Kill a process and its successors as soon as they start."""
    for n in range(n_before + 1, n_before + N_DEATHS + 1):
        await eventually(lambda: n_starts(server, number) == n, 30)  # noqa: B023
        os.kill(pids(server)[number], signal.SIGKILL)


async def stopped_in_order(server: ServerProcess, within_s: float = 5.0) -> None:
    server.send(signal.SIGTERM)
    assert await server.exited(within_s) == 0
    await assert_clean_end(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_second_signal_ends_all_processes_at_once(number: signal.Signals) -> None:
    """Clients receive 1001, as from one process."""
    async with serving("--processes=2", "--model=delay 3", "--max-streams=2") as server:
        url = await server.ready()
        async with speaking(url, 2) as publishers:  # one in each process
            await asyncio.gather(*(publisher.streamed(1) for publisher in publishers))
            server.send(signal.SIGTERM)
            await asyncio.gather(*(publisher.received("status", state="draining") for publisher in publishers))
            await asyncio.sleep(0.4)  # a second signal counts from 0.3 s on
            server.send(number)
            assert await server.exited(FORCED_STOP_S) == 128 + number
            await assert_clean_end(server)
        assert [publisher.close_code for publisher in publishers] == [1001, 1001]


async def test_a_process_that_hangs_does_not_keep_a_stop_from_ending() -> None:
    """The others stop in order. The exit code is that of a stop that was not complete."""
    async with serving("--processes=2", "--drain-timeout=1", "--max-streams=2") as server:
        url = await server.ready()
        async with speaking(url, 2) as publishers:
            await asyncio.gather(*(publisher.streamed(1) for publisher in publishers))
            os.kill(pids(server)[2], signal.SIGSTOP)
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=1 + 1 + 6 + 1) == 70
            await server.tree_gone()
        assert sorted(publisher.close_code or 0 for publisher in publishers) == [1001, 1006]


async def test_systemd_gets_the_notifications_of_the_parent_alone(tmp_path: Path) -> None:
    """It is READY once all processes are ready, and what follows as from one process."""
    pem = certificate.ensure(tmp_path, {"localhost"}, datetime.now(UTC)).path
    keys = tmp_path / "keys.toml"
    keys.write_text("key = []")
    files = (f"--tls-cert={pem}", f"--tls-key={pem}", f"--tokens={keys}")
    systemd = Systemd(str(tmp_path / "notify"))
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "400000"}
    async with serving("--processes=2", "--model=load 1", *files, environment=environment) as server:
        loading = await systemd.receive_until("READY=1")
        assert server.output.count("]: ready") == 2
        assert loading[0] == "EXTEND_TIMEOUT_USEC=10000000"
        assert set(loading[:-1]) <= {"EXTEND_TIMEOUT_USEC=10000000", "WATCHDOG=1"}
        # Two processes would send twice as many.
        began_s = asyncio.get_running_loop().time()
        assert [await systemd.receive() for _ in range(5)] == ["WATCHDOG=1"] * 5
        assert asyncio.get_running_loop().time() - began_s > 0.6
        server.send(signal.SIGHUP)
        reloading = [message for message in await systemd.receive_until("READY=1") if message != "WATCHDOG=1"]
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading[0])
        assert reloading[1:] == ["READY=1"]
        for number in (1, 2):
            await server.logged(rf"livecaption\[{number}\]: certificate: reloaded")
            await server.logged(rf"livecaption\[{number}\]: tokens: reloaded")
        server.send(signal.SIGTERM)
        assert set((await systemd.receive_until("STOPPING=1"))[:-1]) <= {"WATCHDOG=1"}
        assert await server.exited(within_s=5) == 0
        await assert_clean_end(server)
    systemd.close()


async def test_a_process_that_hangs_is_killed_and_its_sessions_go_on(tmp_path: Path) -> None:
    """It gets the time that the unit gives to the only process, 5 s at least."""
    systemd = Systemd(str(tmp_path / "notify"))
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1000000"}
    async with serving("--processes=2", f"--store={tmp_path / 'transcripts.db'}", environment=environment) as server:
        url = await server.ready()
        unbroken = finals_of(await captioned(url))
        events: list[StreamEvent] = []
        talking = asyncio.ensure_future(transcribe(url, paced(), events.append, SETTINGS))
        await eventually(lambda: any(isinstance(event, Partial) and event.utterance > 0 for event in events), 30)
        number = await process_of_stream(url)
        os.kill(pids(server)[number], signal.SIGSTOP)
        await server.logged(rf"process {number} has hung for 5 s, and is killed")
        async with asyncio.timeout(60):
            end = await talking
        assert_same_utterances(finals_of(events), unbroken)
        assert end == End(len(TALK) // 32, len(unbroken), "stop")
        await eventually(lambda: server.output.count("]: ready") == 3, 60)
        await stopped_in_order(server)
    systemd.close()


async def test_an_inference_process_that_is_killed_costs_no_word_and_no_process() -> None:
    """The process of its streams starts another one, as if it were the only process."""
    async with serving("--processes=2", "--workers=2", "--max-streams=4") as server:
        url = await server.ready()
        async with speaking(url, 4) as publishers:
            await asyncio.gather(*(publisher.streamed(2) for publisher in publishers))
            for pid in pids(server).values():
                [worker] = [each.pid for each in psutil.Process(pid).children() if each.pid in server.worker_pids]
                os.kill(worker, signal.SIGKILL)
            await eventually(lambda: server.output.count("was killed by SIGKILL") == 2, 20)
            await asyncio.gather(*(publisher.received("final") for publisher in publishers))
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=9) == 0
        for publisher in publishers:
            publisher.check_complete()
        assert [n_starts(server, number) for number in (1, 2)] == [1, 1]
        await assert_clean_end(server)


async def test_sessions_go_on_when_all_processes_are_killed_at_once(tmp_path: Path) -> None:
    """Connections wait in the parent's sockets for the processes that follow."""
    async with serving("--processes=2", f"--store={tmp_path / 'transcripts.db'}") as server:
        url = await server.ready()
        unbroken = finals_of(await captioned(url))
        events: list[StreamEvent] = []
        talking = asyncio.ensure_future(transcribe(url, paced(), events.append, SETTINGS))
        await eventually(lambda: any(isinstance(event, Partial) and event.utterance > 0 for event in events), 30)
        for pid in pids(server).values():
            os.kill(pid, signal.SIGKILL)
        status, _ = await get(url, "healthz")
        assert status == 200
        async with asyncio.timeout(60):
            end = await talking
        assert_same_utterances(finals_of(events), unbroken)
        assert end == End(len(TALK) // 32, len(unbroken), "stop")
        await eventually(lambda: server.output.count("]: ready") == 4, 60)
        await stopped_in_order(server)


async def test_a_server_whose_process_never_starts_ends_and_its_service_manager_learns_of_it() -> None:
    """Five deaths in a row before all processes were ready are no start."""
    async with serving("--processes=2") as server:
        await died_again_and_again(server, 2)
        assert await server.exited(within_s=10) == 70
        assert "process 2 cannot start: it was killed by SIGKILL" in server.output
        await assert_clean_end(server)


async def test_a_process_that_dies_again_and_again_is_tried_each_30_s_while_the_others_serve() -> None:
    """The pause does not delay a stop."""
    async with serving("--processes=2") as server:
        url = await server.ready()
        await died_again_and_again(server, 2)
        await server.logged(r"process 2 was killed by SIGKILL.*; it is started again in 30\.0 s")
        assert await get(url, "readyz") == (200, '{"state": "ready"}')
        await stopped_in_order(server)
        assert n_starts(server, 2) == N_DEATHS


@pytest.mark.parametrize("is_ready", [False, True], ids=["at the start", "after a death"])
async def test_a_stop_while_a_process_starts_waits_for_nothing_and_is_no_fault(*, is_ready: bool) -> None:
    """Streams of the others get every final."""
    async with serving("--processes=2", "--model=delay 0.4", "--max-streams=2") as server:
        if not is_ready:
            await eventually(lambda: n_starts(server, 2) == 1, 20)
            await stopped_in_order(server, within_s=1)
            return
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            other = 3 - await process_of_stream(url)
            os.kill(pids(server)[other], signal.SIGKILL)
            await eventually(lambda: n_starts(server, other) == 2, 20)
            await stopped_in_order(server)
        publisher.check_complete()
