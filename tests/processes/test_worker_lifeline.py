"""Each layer of the lifeline alone ends the worker when the server has ended. All processes are real.

The rows are those of docs/fault-matrix.md. The bounds are for a busy machine; docs/measuring.md has measured times.
"""

import asyncio
import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from livecaption.ipc.layers import SWITCH, Layer
from tests.support import worker_parent
from tests.support.eventually import eventually
from tests.support.processes import ProcessEnd, ServerProcess

pytestmark = pytest.mark.processes

GONE_WITHIN_S = 0.25
STARTING_GONE_WITHIN_S = 10.0
"""The interpreter of a worker starts before its lifeline is set up, which takes seconds on a busy machine."""
RECHECK_S = 1.0
DEADLINE_S = 1.2  # deadline of the batch that worker_parent sends
SLACK_S = 0.5
PR_SET_CHILD_SUBREAPER = 36

WATCHES = [Layer.PIPE_END, Layer.PARENT_WATCH, Layer.PARENT_DEATH_SIGNAL]
"""The layers that detect the end of the server alone, within GONE_WITHIN_S."""
ALL = list(Layer)


class Parent(ServerProcess):
    """A running `worker_parent`, and the end of its worker."""

    async def started(self) -> ProcessEnd:
        """Wait until its first worker starts, and return the end of that process as an event."""
        return ProcessEnd(int((await self.logged(r"worker 1 started \(pid (\d+)\)"))[1]))

    async def ready(self) -> str:
        return (await self.logged("worker 1 is ready"))[0]


@asynccontextmanager
async def parent(
    model: str = "", prompt: str = "", end: str = "leave", layers: list[Layer] = ALL
) -> AsyncIterator[Parent]:
    """Run `worker_parent` with these layers and no others. Its remaining processes are killed at the end."""
    without = ",".join(layer.value for layer in Layer if layer not in layers)
    with tempfile.TemporaryDirectory(prefix="livecaption-test-") as directory:
        arguments = [sys.executable, worker_parent.__file__, model, prompt, end]
        process = Parent(arguments, Path(directory), terminal=False, environment={SWITCH: without})
        try:
            yield process
        finally:
            process.dispose()


async def gone(process: Parent, worker: ProcessEnd, within_s: float) -> None:
    """Wait for the end of the server, of its worker within the time, and then of all its processes."""
    await process.exited(within_s=5.0)
    with worker:
        await worker.wait(within_s, what=f"the worker; its server printed:\n{process.output}")
    await process.tree_gone()


async def stays(worker: ProcessEnd, for_s: float) -> None:
    with pytest.raises(TimeoutError):
        await worker.wait(for_s)


def computing(directory: Path) -> Path:
    """Return a file that exists once the batch has begun. The prompt contains its name."""
    return directory / "computing"


@pytest.mark.parametrize("layers", [ALL, *([watch] for watch in WATCHES)], ids=repr)
async def test_the_worker_of_a_killed_server_is_gone(layers: list[Layer]) -> None:
    """Rows 16, 19, 20 and 27: when the machine is out of memory, the kernel sends an ordinary SIGKILL."""
    async with parent(layers=layers) as server:
        worker = await server.started()
        await server.ready()
        server.send(signal.SIGKILL)
        await gone(server, worker, GONE_WITHIN_S)


async def test_without_any_layer_the_worker_would_stay() -> None:
    """Without layers `daemon=True` is not enough, which proves that the other tests do test the layers."""
    async with parent(layers=[]) as server:
        worker = await server.started()
        await server.ready()
        server.send(signal.SIGKILL)
        await server.exited(within_s=5.0)
        with worker:
            await stays(worker, 2 * RECHECK_S + SLACK_S)


@pytest.mark.parametrize("layers", [ALL, *([watch] for watch in WATCHES)], ids=repr)
async def test_the_worker_of_a_killed_server_is_gone_while_it_computes(layers: list[Layer], tmp_path: Path) -> None:
    """Row 17: the worker is in C code that releases the interpreter's lock, as CTranslate2 does."""
    async with parent(prompt=f"touch {computing(tmp_path)}; hang", layers=layers) as server:
        worker = await server.started()
        await eventually(computing(tmp_path).exists)
        server.send(signal.SIGKILL)
        await gone(server, worker, GONE_WITHIN_S)


@pytest.mark.parametrize(
    ("layers", "within_s"),
    [
        (ALL, GONE_WITHIN_S),
        ([Layer.PARENT_DEATH_SIGNAL], GONE_WITHIN_S),
        ([layer for layer in Layer if layer is not Layer.PARENT_DEATH_SIGNAL], DEADLINE_S + SLACK_S),
    ],
    ids=["all", "signal", "no signal"],
)
async def test_the_worker_of_a_killed_server_is_gone_while_c_code_holds_the_interpreter(
    layers: list[Layer], within_s: float, tmp_path: Path
) -> None:
    """Rows 18 and 19: the worker ends at once on Linux, and elsewhere by the dead-man's switch."""
    async with parent(prompt=f"touch {computing(tmp_path)}; hang-gil", layers=layers) as server:
        worker = await server.started()
        await eventually(computing(tmp_path).exists)
        server.send(signal.SIGKILL)
        await gone(server, worker, within_s)


@pytest.mark.parametrize("layers", [ALL, *([watch] for watch in WATCHES)], ids=repr)
async def test_the_worker_of_a_killed_server_is_gone_while_it_loads(layers: list[Layer], tmp_path: Path) -> None:
    """Row 21."""
    loading = tmp_path / "loading"
    async with parent(f"touch {loading}, hang-load", layers=layers) as server:
        worker = await server.started()
        await eventually(loading.exists)
        server.send(signal.SIGKILL)
        await gone(server, worker, GONE_WITHIN_S)


@pytest.mark.usefixtures("cold_processes")
async def test_the_worker_is_gone_if_the_server_is_killed_while_it_starts() -> None:
    """Row 22: the server is killed 0 to 100 ms after it started the worker; each delay is a case."""
    for delay_ms in range(0, 101, 20):
        async with parent() as server:
            worker = await server.started()
            await asyncio.sleep(delay_ms / 1000)
            server.send(signal.SIGKILL)
            await gone(server, worker, STARTING_GONE_WITHIN_S)


@pytest.mark.usefixtures("cold_processes")
async def test_a_signal_armed_too_late_is_made_good_by_a_look_at_the_parent() -> None:
    """Row 22: a server that is killed at once is dead before its worker can arm the parent-death signal."""
    async with parent(layers=[Layer.PARENT_DEATH_SIGNAL, Layer.PARENT_CHECK]) as server:
        worker = await server.started()
        server.send(signal.SIGKILL)
        await gone(server, worker, STARTING_GONE_WITHIN_S)


@pytest.mark.usefixtures("cold_processes")
async def test_the_worker_is_gone_if_the_servers_whole_group_is_killed() -> None:
    """Row 23: the worker itself is not in that group."""
    async with parent() as server:
        worker = await server.started()
        await server.ready()
        assert os.getpgid(worker.pid) == worker.pid != os.getpgid(server.pid)
        server.send_to_group(signal.SIGKILL)
        await gone(server, worker, GONE_WITHIN_S)


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Become the parent of orphaned grandchildren, like a container's init or a desktop session."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0) == 0
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize("layers", [ALL, *([watch] for watch in WATCHES)], ids=repr)
async def test_the_new_parent_need_not_be_process_1(layers: list[Layer]) -> None:
    """Row 24."""
    async with parent(layers=layers) as server:
        worker = await server.started()
        await server.ready()
        server.send(signal.SIGKILL)
        await gone(server, worker, 1.0)


@pytest.mark.usefixtures("subreaper", "cold_processes")
async def test_the_check_at_the_start_finds_another_new_parent_too() -> None:
    """Row 24. A worker checks once, when it has imported its modules, so its server must be gone before."""
    async with parent(layers=[Layer.PARENT_CHECK]) as server:
        worker = await server.started()
        server.send(signal.SIGKILL)
        await gone(server, worker, STARTING_GONE_WITHIN_S)


async def test_a_stray_copy_of_the_pipes_keeps_nobody_alive() -> None:
    """Row 25: there is no end-of-file, so the watch checks the parent once a second."""
    async with parent(end="fork", layers=[Layer.PIPE_END, Layer.PARENT_WATCH]) as server:
        worker = await server.started()
        await server.ready()
        server.send(signal.SIGUSR2)
        await server.logged("forked")
        server.send(signal.SIGKILL)
        await server.exited(within_s=5.0)
        with worker:
            assert await worker.wait(RECHECK_S + SLACK_S) - server.ended_s > GONE_WITHIN_S


async def test_a_server_that_was_stopped_before_it_was_killed_is_no_exception() -> None:
    """Row 26."""
    async with parent() as server:
        worker = await server.started()
        await server.ready()
        server.send(signal.SIGSTOP)
        server.send(signal.SIGKILL)
        await gone(server, worker, GONE_WITHIN_S)


@pytest.mark.parametrize(
    ("end", "status"),
    [("exit_at_once", 0), ("crash", -signal.SIGSEGV), ("leave", 0), ("leave_with_status", 5), ("fail", 1), ("stop", 0)],
)
async def test_however_the_server_ends_its_worker_is_gone_and_its_status_is_kept(end: str, status: int) -> None:
    """Rows 28 and 30."""
    async with parent(end=end) as server:
        worker = await server.started()
        await server.ready()
        server.send(signal.SIGUSR2)
        await gone(server, worker, GONE_WITHIN_S)
        assert await server.exited(within_s=1.0) == status


@pytest.mark.parametrize(("end", "status"), [("leave", 0), ("leave_with_status", 5), ("fail", 1)])
async def test_a_server_that_stops_nothing_ends_at_once_all_the_same(end: str, status: int) -> None:
    """Row 40: multiprocessing's hook would send SIGTERM, which workers ignore, and wait for ever."""
    async with parent(end=end, layers=[Layer.EXIT_HOOK]) as server:
        worker = await server.started()
        await server.ready()
        server.send(signal.SIGUSR2)
        assert await server.exited(within_s=1.0) == status
        with worker:
            await worker.wait(GONE_WITHIN_S)


async def test_a_worker_that_cannot_be_killed_does_not_keep_the_server_from_ending() -> None:
    """Row 54: the worker has 1 s to stop and 2 s to die. The exit hook waits for it for 2 s more."""
    async with parent(end="stop_what_cannot_be_killed") as server:
        await server.ready()
        server.send(signal.SIGUSR2)
        assert await server.exited(within_s=6.0) == 0
        assert "stuck in a driver?" in server.output
        assert "Traceback" not in server.output


async def test_stop_signals_leave_the_worker_alone(tmp_path: Path) -> None:
    """The signals are for the server, which needs the worker for the last captions."""
    async with parent(prompt=f"delay 0.2; touch {computing(tmp_path)}") as server:
        with await server.started() as worker:
            await server.ready()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(worker.pid, number)
            await eventually(computing(tmp_path).exists)
            await stays(worker, 0.1)
