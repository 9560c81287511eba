"""A process that is forked from a warm one is like one that was started: this holds up all tests with processes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TEMPLATE
from tests.support.processes import ServerProcess, assert_clean_end, serving

SIGNALS = r"^(Sig(?:Pnd|Blk|Ign|Cgt)):\s*(\w+)$"

pytestmark = pytest.mark.skipif(TEMPLATE is None, reason="no process is a fork here")


@pytest.fixture
def switch(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Choose whether the next processes are forks."""
    assert TEMPLATE is not None

    def to(is_used: bool) -> None:
        TEMPLATE.is_used = is_used

    yield to
    TEMPLATE.is_used = True


def seen(pid: int) -> dict[str, Any]:
    """Return what the system shows of a process: all but what differs between any two."""
    process = Path("/proc", str(pid))
    environment = (process / "environ").read_bytes().split(b"\0")
    words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    # readline sets two variables that Python's `os.environ` lacks.
    own = re.compile(rb"fd=\d+|handle=\d+|livecaption-test-\w+|[0-9a-f]{32}|COLUMNS=.*|LINES=.*")
    status = (process / "status").read_text()
    descriptors = [re.sub(r":.*|/tmp/.*", "", os.readlink(each)) for each in (process / "fd").iterdir()]
    stat = (process / "stat").read_text().rpartition(")")[2].split()
    return {
        "arguments": [own.sub(b"", word) for word in words],
        "environment": [own.sub(b"", word) for word in environment],
        "directory": re.sub(r"livecaption-test-\w+", "", os.readlink(process / "cwd")),
        "descriptors": sorted(name for name in descriptors if name != "socket"),
        "program": os.readlink(process / "exe"),
        "parent": int(stat[1]),
        "leads its group": int(stat[2]) == pid,
        "leads its session": int(stat[3]) == pid,
        "signals": dict(re.findall(SIGNALS, status, re.MULTILINE)),
        "user": re.findall(r"^[UG]id:.*", status, re.MULTILINE),
    }


def different(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Return what one of the two has and the other has not."""

    def words(shown: dict[str, Any]) -> set[str]:
        lists = {name: value if isinstance(value, list) else [value] for name, value in shown.items()}
        return {f"{name}: {word}" for name, value in lists.items() for word in value}

    # A fork is not shown with the options of its interpreter, such as -B.
    options = getattr(subprocess, "_args_from_interpreter_flags")()  # noqa: B009
    return (words(one) ^ words(other)) - {f"arguments: {os.fsencode(option)!r}" for option in options}


async def served(server: ServerProcess) -> list[dict[str, Any]]:
    """Return what the system shows of a server and of its worker, once both are ready."""
    await server.ready()
    [worker] = server.worker_pids
    shown = [seen(server.pid), seen(worker) | {"parent": None}]
    assert seen(worker)["parent"] == server.pid
    server.send(signal.SIGTERM)
    assert await server.exited(within_s=5) == 0
    await assert_clean_end(server)
    return shown


async def test_a_server_and_its_worker_are_like_started_ones(switch: Any) -> None:
    switch(False)
    async with serving() as server:
        started = await served(server)
    switch(True)
    async with serving() as server:
        for fork, other in zip(await served(server), started, strict=True):
            assert different(fork, other) == set()


def test_a_fork_has_its_own_arguments_as_soon_as_its_process_id_is_known() -> None:
    command = [sys.executable, "-m", "livecaption", "--version"]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            arguments = Path("/proc", str(process.pid), "cmdline").read_bytes().rstrip(b"\0")
        assert arguments == "\0".join(command).encode()


def wait(pipe: Connection) -> None:
    """Run in a child of multiprocessing."""
    pipe.send(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    pipe.poll(30)


def test_a_child_of_multiprocessing_is_like_a_started_one(switch: Any) -> None:
    shown = []
    for is_used in (False, True):
        switch(is_used)
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=wait, args=(theirs,))
        process.start()
        assert ours.poll(30)
        shown.append((ours.recv(), seen(process.pid)))
        ours.send("end")
        process.join()
        assert process.exitcode == 0
        ours.close()
        theirs.close()
    assert shown[0][0] == shown[1][0]
    assert different(shown[0][1], shown[1][1]) == set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_the_signal_that_ends_a_fork_is_its_exit_code(number: signal.Signals) -> None:
    async with serving() as server:
        await server.listening()
        server.send(number)
        assert await server.exited(within_s=5) == -number
