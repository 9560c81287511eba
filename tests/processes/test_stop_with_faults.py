"""The server ends in spite of a fault: a blocked loop, a failed task, a crash, or an exit call of a library.

The numbers of rows are those of the fault matrix.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from livecaption.ipc.layers import SWITCH
from tests.support.postgresql import Cluster
from tests.support.processes import ServerProcess, assert_clean_end, serving
from tests.support.streaming import speaking

pytestmark = pytest.mark.processes

NOTHING_ELSE = {SWITCH: "pipe-end,parent-watch,parent-death-signal,dead-man,exit-hook"}
"""The environment that switches off every layer that ends a worker, except the server itself."""

FAULTY = Path(__file__).parent / "faulty.py"


@asynccontextmanager
async def faulty(fault: str, *flags: str, environment: dict[str, str] | None = None) -> AsyncIterator[ServerProcess]:
    command = (sys.executable, str(FAULTY), fault)
    async with serving(*flags, command=command, environment=environment) as server:
        yield server


@pytest.mark.parametrize("fault", ["block-loop", "block-log"])
async def test_a_second_signal_ends_a_server_whose_loop_is_blocked(fault: str) -> None:
    """Row 14: a third signal changes nothing."""
    async with faulty(fault) as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        await server.logged("fault: blocked")
        server.send(signal.SIGTERM)
        await asyncio.sleep(0.35)  # a second signal counts from 0.3 s on
        server.send(signal.SIGTERM)
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=0.5) == 128 + signal.SIGTERM
        await assert_clean_end(server)


async def test_a_blocked_loop_does_not_outlive_the_budget_of_a_stop() -> None:
    """Row 15: 1 s for the drain, 1 s for the workers, 2 s more; then exit code 70."""
    async with faulty("block-loop", "--drain-timeout", "1") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        await server.logged("fault: blocked")
        began_s = time.monotonic()
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=4.5) == 70
        assert server.ended_s - began_s > 3.5
        await assert_clean_end(server)


async def test_a_blocked_loop_leaves_the_stacks_of_all_threads() -> None:
    """systemd gets no notification meanwhile, because only the loop sends those of row 58."""
    async with faulty("block-loop") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        await server.logged("fault: blocked")
        await server.logged("the event loop is blocked", within_s=8)
        await server.logged(r"faulty.py.* in block$")


async def test_a_loop_that_is_blocked_while_it_logs_leaves_its_stacks_too() -> None:
    async with faulty("block-log") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        await server.logged("fault: blocked")
        await server.logged(r"faulty.py.* in block$", within_s=8)


async def test_a_crash_in_native_code_leaves_a_stack_and_no_worker() -> None:
    """Row 28."""
    async with faulty("segfault") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        assert await server.exited(within_s=2) == -signal.SIGSEGV
        await server.tree_gone()
        assert "Fatal Python error: Segmentation fault" in server.output


async def test_a_fault_of_ours_closes_all_streams_with_1011_and_ends_the_server() -> None:
    """Row 29: a task that the server needs fails. The audio that was received is still captioned."""
    async with faulty("break-watch") as server:
        url = await server.ready()
        async with speaking(url, 2) as publishers:
            await asyncio.gather(*(publisher.streamed(1) for publisher in publishers))
            server.send(signal.SIGUSR2)
            assert await server.exited(within_s=5) == 70
            await server.tree_gone()
        for publisher in publishers:
            assert publisher.close_code == 1011
            assert [error["code"] for error in publisher.of("error") if error["fatal"]] == ["internal"]
            assert len(publisher.of("final")) == len(publisher.of("speech_start"))
            assert publisher.events[-1]["type"] == "end"
        assert "the server failed" in server.output


async def test_a_server_that_cannot_show_others_any_more_that_it_runs_ends(cluster: Cluster) -> None:
    """They would take its sessions from it again and again."""
    async with faulty("break-presence", "--store", cluster.empty_database()) as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        assert await server.exited(within_s=10) == 70
        await server.tree_gone()
        assert "the server failed" in server.output


async def test_the_exit_of_a_library_leaves_no_worker() -> None:
    """Row 30: after `os._exit` no code of the server runs."""
    async with faulty("leave") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        assert await server.exited(within_s=2) == 0
        await assert_clean_end(server)


async def test_sys_exit_in_a_callback_keeps_its_code_and_leaves_no_worker() -> None:
    """Row 30: a library calls `sys.exit`."""
    async with faulty("exit-in-callback") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        assert await server.exited(within_s=2) == 5
        await server.tree_gone()


async def test_a_stop_that_forgot_the_workers_kills_them_all_the_same() -> None:
    """The last layer of the server itself is tested alone; the layers of the worker are off."""
    async with faulty("forget-workers", environment=NOTHING_ELSE) as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        await server.logged("fault: forgotten")
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=2) == 0
        await assert_clean_end(server)


async def test_a_forced_end_kills_the_workers_itself() -> None:
    """The layers of the worker are off."""
    async with serving("--model", "delay 3", environment=NOTHING_ELSE) as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            server.send(signal.SIGTERM)
            await publisher.received("status", state="draining")
            await asyncio.sleep(0.35)  # a second signal counts from 0.3 s on
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=0.5) == 128 + signal.SIGTERM
            await assert_clean_end(server)


async def test_a_server_that_never_stopped_its_workers_kills_them_at_its_exit() -> None:
    """Row 40: multiprocessing's own hook would send SIGTERM, which workers ignore, and wait for ever."""
    async with faulty("exit-without-stop") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        assert await server.exited(within_s=2) == 5
        await server.tree_gone()


@pytest.mark.usefixtures("cold_processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_a_signal_during_the_imports_ends_the_program_at_once(number: signal.Signals) -> None:
    """Row 34: nothing has begun, so the process ends at once, and this is the stop in order."""
    async with faulty("slow-import") as server:
        await server.logged("fault: importing")
        server.send(number)
        assert await server.exited(within_s=1) == 0
        await assert_clean_end(server)
