"""The start and the reaping of an inference process."""

import signal

import psutil
import pytest

from livecaption.ipc import children
from livecaption.ipc.config import EngineConfig
from livecaption.ipc.locks import run_directory
from livecaption.workers import spawning

SCRIPTED = EngineConfig(engine="scripted")


@pytest.mark.processes
async def test_a_killed_process_is_reaped_and_its_lock_removed() -> None:
    process, pipe = spawning.spawn(SCRIPTED, 10.0)
    with pipe:
        pid = process.pid
        assert pipe.poll(10)  # it is loaded
        assert [path.name for path in run_directory().iterdir()] == [f"worker-{pid}.lock"]
        children.kill(process)
        assert spawning.reap(process, 5.0) == -signal.SIGKILL
    assert list(run_directory().iterdir()) == []
    children.kill(process)  # a caller that missed its end may kill it again


@pytest.mark.processes
async def test_a_process_that_cannot_be_started_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError("no more processes")

    (process, pipe), server = spawning.spawn(SCRIPTED, 10.0), psutil.Process()
    children.kill(process)
    spawning.reap(process, 5.0)
    pipe.close()
    n_before = server.num_fds()
    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    with pytest.raises(OSError, match="no more processes"):
        spawning.spawn(SCRIPTED, 10.0)
    assert server.num_fds() == n_before
