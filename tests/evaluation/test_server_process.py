"""The harness finds everything that a server leaves behind, tested with a program that leaves everything."""

import multiprocessing
import sys
from pathlib import Path

import pytest

from livecaption.evaluation.server_process import serving

pytestmark = pytest.mark.processes

LITTERER = """
import os, socket, subprocess, sys, tempfile
listener = socket.create_server(("127.0.0.1", 0))
os.set_inheritable(listener.fileno(), True)
print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}/", file=sys.stderr, flush=True)
lock = open(os.path.join(os.environ["XDG_RUNTIME_DIR"], "worker.lock"), "w")
os.set_inheritable(lock.fileno(), True)
import fcntl
fcntl.flock(lock, fcntl.LOCK_EX)
open(os.path.join(tempfile.gettempdir(), "forgotten"), "w").close()
child = "import time; print('ready', flush=True); time.sleep(100)"
child = subprocess.Popen([sys.executable, "-c", child], close_fds=False, stdout=subprocess.PIPE)
child.stdout.readline()
import _multiprocessing
semaphore = _multiprocessing.SemLock(0, 1, 1, f"/mp-left-by-{os.getpid()}", False)
print("Traceback (most recent call last):", file=sys.stderr, flush=True)
"""


def semaphore(name: str) -> Path:
    return Path(f"/dev/shm/sem.{name}")


async def test_everything_that_is_left_is_named() -> None:
    async with serving(command=(sys.executable, "-c", LITTERER)) as server:
        assert await server.exited(within_s=10) == 0
        left = await server.leftovers(others_within_s=0.2)  # briefly, because tests beside this one see it, too
        semaphore(f"mp-left-by-{server.pid}").unlink()
    named = "\n".join(left)
    assert "sleep(100)" in named
    assert "port" in named
    assert "file worker.lock" in named
    assert "file forgotten" in named
    assert "logged: Traceback" in named
    assert f"shared memory sem.mp-left-by-{server.pid}" in left
    assert len(left) == 6


async def test_shared_memory_that_a_living_process_maps_is_no_leftover() -> None:
    """Other programs make semaphores while a server runs: another suite, for instance."""
    async with serving(command=(sys.executable, "-c", "")) as server:
        ours = multiprocessing.get_context("spawn").Semaphore()
        assert semaphore(ours._semlock.name.lstrip("/")).exists()  # type: ignore[attr-defined]
        assert await server.exited(within_s=10) == 0
        assert await server.leftovers() == []


async def test_processes_that_are_left_are_killed_at_the_end() -> None:
    async with serving(command=(sys.executable, "-c", LITTERER)) as server:
        assert await server.exited(within_s=10) == 0
        semaphore(f"mp-left-by-{server.pid}").unlink()
        assert len(server.tree()) == 1
    assert server.tree() == []


async def test_a_program_that_prints_nothing_is_not_waited_for() -> None:
    async with serving(command=(sys.executable, "-c", "")) as server:
        with pytest.raises(TimeoutError, match="was not logged"):
            await server.listening()
