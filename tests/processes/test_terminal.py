"""The server in a terminal: Ctrl+C, Ctrl+Z, Ctrl+\\\\, a closed window.

The terminal is a real pty: it is the controlling terminal, and the server is its foreground group. The numbers of rows
are those of the fault matrix.
"""

import asyncio
import os
import signal
import sys

import psutil
import pytest

from tests.support.eventually import eventually
from tests.support.processes import COMMAND, assert_clean_end, serving
from tests.support.streaming import speaking

pytestmark = pytest.mark.processes

CTRL_C, CTRL_Z, CTRL_BACKSLASH = b"\x03", b"\x1a", b"\x1c"
ENGINES = ["scripted", pytest.param("", id="model", marks=pytest.mark.model)]


@pytest.mark.parametrize("engine", ENGINES)
async def test_ctrl_c_stops_an_idle_server_in_order(engine: str) -> None:
    """Row 2: the whole group gets the signal, and the worker ignores it until the server asks it to stop."""
    async with serving(engine=engine, terminal=True) as server:
        await server.ready()
        server.type(CTRL_C)
        assert await server.exited(within_s=0.5) == 0
        await assert_clean_end(server)


async def test_ctrl_c_in_mid_sentence_delivers_the_final() -> None:
    """Row 9: a batch takes 0.4 s, so one is in flight. `test_stop` has a signal to all processes with the model."""
    async with serving("--model", "delay 0.4", terminal=True) as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(2)
            server.type(CTRL_C)
            assert await server.exited(within_s=4) == 0
            await assert_clean_end(server)
        publisher.check_complete()


async def test_a_closed_window_in_mid_sentence_delivers_the_final_and_ends_with_0() -> None:
    """Row 4: the group gets a hang-up, and later writes to the terminal fail."""
    async with serving(terminal=True) as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(2)
            server.close_terminal()
            assert await server.exited(within_s=4) == 0
            await assert_clean_end(server)
        publisher.check_complete()


async def test_a_second_ctrl_c_ends_at_once() -> None:
    """Row 11."""
    async with serving("--model", "delay 3", terminal=True) as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            server.type(CTRL_C)
            await publisher.received("status", state="draining")
            await asyncio.sleep(0.35)  # a second signal counts from 0.3 s on
            server.type(CTRL_C)
            assert await server.exited(within_s=1.5) == 128 + signal.SIGINT
            await assert_clean_end(server)
        assert publisher.close_code == 1001


@pytest.mark.usefixtures("cold_processes")
async def test_ctrl_backslash_ends_the_server_and_its_worker() -> None:
    """Row 6: the default action of SIGQUIT is a core dump. The worker detects its parent's end."""
    async with serving(terminal=True) as server:
        await server.ready()
        server.type(CTRL_BACKSLASH)
        assert await server.exited(within_s=2) == -signal.SIGQUIT
        await server.tree_gone(within_s=0.1)


SHELL = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen(sys.argv[1:], process_group=0)
os.tcsetpgrp(0, job.pid)
sys.exit(job.wait())
"""
"""Start the command as a shell starts a job. The kernel stops only processes with a parent in their session."""


async def test_ctrl_z_and_fg_change_nothing() -> None:
    """Row 7: the worker sends heartbeats all the time, and does not count as hung because the server was stopped."""
    async with serving(command=(sys.executable, "-c", SHELL, *COMMAND), terminal=True) as server:
        await server.ready()
        [main] = psutil.Process(server.pid).children()
        [worker] = server.worker_pids
        server.type(CTRL_Z)
        await eventually(lambda: main.status() == psutil.STATUS_STOPPED)
        await asyncio.sleep(6)  # longer than the time-out of the heartbeat
        os.killpg(main.pid, signal.SIGCONT)  # `fg` sends this
        await server.logged("was blocked, or this process stopped")
        await asyncio.sleep(1)  # a few checks of the heartbeat
        assert server.worker_pids == [worker]
        server.type(CTRL_C)
        assert await server.exited(within_s=1) == 0
        await assert_clean_end(server)


@pytest.mark.usefixtures("cold_processes")
async def test_under_nohup_a_closed_window_changes_nothing() -> None:
    """With `nohup`, the program starts with hang-ups ignored."""
    async with serving(command=("env", "--ignore-signal=HUP", *COMMAND), terminal=True) as server:
        url = await server.ready()
        server.close_terminal()
        async with speaking(url) as [publisher]:
            await publisher.streamed(1)
            server.send(signal.SIGTERM)
            assert await server.exited(within_s=4) == 0
            await assert_clean_end(server)
        publisher.check_complete()
