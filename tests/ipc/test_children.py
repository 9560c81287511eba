"""The start and the end of a child process, tested with an inference process."""

import asyncio
import os
import signal

import pytest

from livecaption.ipc import children
from livecaption.ipc.config import EngineConfig
from livecaption.workers import spawning
from tests.support.eventually import eventually

SCRIPTED = EngineConfig(engine="scripted")


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "exited with status 0"),
        (86, "exited with status 86"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL (out of memory?)"),
        (-64, "was killed by SIGRTMAX"),
        (-99, "was killed by signal 99"),
        (None, "does not end although it was killed (stuck in a driver?)"),
    ],
)
def test_an_exit_is_described_in_words(exit_code: int | None, words: str) -> None:
    assert children.describe_exit(exit_code) == words


@pytest.mark.processes
async def test_a_process_that_lives_is_not_reaped() -> None:
    process, pipe = spawning.spawn(SCRIPTED, 10.0)
    with pipe:
        assert spawning.reap(process, 0.1) is None
        children.kill_all()
        assert spawning.reap(process, 5.0) == -signal.SIGKILL


async def test_only_the_thread_of_the_loop_may_spawn() -> None:
    """Row 59 of the fault matrix: the parent-death signal is sent when the thread ends that started the child.

    The threads of an executor may end at any time.
    """
    with pytest.raises(RuntimeError, match="no running event loop"):
        await asyncio.to_thread(spawning.spawn, SCRIPTED, 10.0)


@pytest.mark.processes
async def test_a_process_has_left_the_terminal_and_its_signals_before_it_loads(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It also ignores Ctrl+C at its start, because the signal is blocked then."""
    process, pipe = spawning.spawn(EngineConfig(engine="scripted", model="hang-load"), 10.0)
    with pipe:
        pid = process.pid
        assert pid is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        await eventually(lambda: os.getsid(pid) == pid)
        assert process.is_alive()
        children.kill(process)
        assert spawning.reap(process, 5.0) == -signal.SIGKILL
    assert "Traceback" not in capfd.readouterr().err


def test_the_stop_signals_are_as_before_after_a_spawn() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        with children._signals_blocked():
            assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= signal.pthread_sigmask(signal.SIG_BLOCK, set())
        assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before | {signal.SIGHUP}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
