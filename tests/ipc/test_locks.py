"""Workers of an earlier server on the device are found, and no other process is touched. Row 57 of the fault matrix."""

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from livecaption.ipc import locks
from livecaption.ipc.locks import (
    WorkerIdentity,
    WorkerLock,
    discard_lock,
    kill_stale,
    run_directory,
    stale_workers,
)
from tests.support.stale_workers import NO_PROCESS, held


@pytest.fixture(autouse=True)
def own_run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use a directory of locks that only these tests have."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


def test_a_worker_whose_server_is_gone_is_stale(stale: WorkerIdentity) -> None:
    assert stale_workers("cpu") == [stale]


@pytest.mark.parametrize(
    ("has", "wants", "overlap"),
    [
        ("cpu", "GPU-1", False),
        ("GPU-1", "GPU-2", False),
        ("GPU-1", "GPU-1", True),
        ("", "GPU-1", True),
        ("", "cpu", True),
        ("cpu", "MIG-1", False),
        ("MIG-1", "MIG-1", True),
        ("MIG-1", "cpu", False),
        ("cuda:0", "GPU-1", True),
        ("cuda", "cpu", True),
        ("auto", "cpu", True),
    ],
)
def test_only_the_same_device_counts_and_one_that_is_not_known(
    orphan: WorkerIdentity, has: str, wants: str, overlap: bool
) -> None:
    with held(replace(orphan, device=has)):
        assert bool(stale_workers(wants)) is overlap


def test_the_worker_of_a_server_that_runs_is_not_stale(orphan: WorkerIdentity) -> None:
    with held(replace(orphan, server_pid=os.getpid())):
        assert stale_workers("cpu") == []


def test_a_lock_that_nobody_holds_is_removed(stale: WorkerIdentity) -> None:
    path = run_directory() / f"worker-{NO_PROCESS}.lock"
    path.write_text(json.dumps(asdict(replace(stale, pid=NO_PROCESS))))
    assert stale_workers("cpu") == [stale]
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_lock_that_is_being_written_is_left_alone(stale: WorkerIdentity, content: str) -> None:
    """A worker that starts writes it; the server of such a worker runs."""
    path = run_directory() / f"worker-{stale.pid}.lock"
    path.write_text(content)
    assert stale_workers("cpu") == []
    assert path.exists()


def test_a_lock_that_is_not_yet_held_is_left_alone(orphan: WorkerIdentity) -> None:
    path = run_directory() / f"worker-{orphan.pid}.lock"
    path.touch()
    assert stale_workers("cpu") == []
    assert path.exists()


def test_a_worker_of_another_container_is_not_ours_to_judge(stale: WorkerIdentity) -> None:
    with held(replace(stale, pid=NO_PROCESS)):
        assert stale_workers("cpu") == [stale]


def test_the_stale_worker_is_killed(process: psutil.Popen, stale: WorkerIdentity) -> None:
    assert kill_stale(stale)
    assert process.wait(10) == -9
    assert kill_stale(stale)  # it has ended, which was the purpose


@pytest.mark.parametrize("difference", [{"created_s": 1.0}, {"command": ["python", "-m", "another"]}], ids=repr)
def test_another_process_with_its_pid_is_not(
    process: psutil.Popen, stale: WorkerIdentity, difference: dict[str, object]
) -> None:
    assert not kill_stale(replace(stale, **difference))
    assert process.poll() is None


def test_the_lock_names_its_holder_and_its_device_and_goes_with_it() -> None:
    program = (
        "from livecaption.ipc.locks import WorkerLock; lock = WorkerLock(77); print(flush=True); input(); "
        "lock.name_device('GPU-3'); print(flush=True); input()"
    )
    with psutil.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        unnamed = WorkerIdentity(holder.pid, 77, "", holder.create_time(), holder.cmdline())
        assert stale_workers("GPU-3") == stale_workers("cpu") == [unnamed]
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        holder.stdout.readline()
        assert stale_workers("GPU-3") == [replace(unnamed, device="GPU-3")]
        assert stale_workers("cpu") == []
        holder.kill()
    assert stale_workers("GPU-3") == []
    assert list(run_directory().iterdir()) == []
    discard_lock(holder.pid)


@pytest.fixture
def probed() -> Iterator[BinaryIO]:
    """The lock of this process, as another worker holds it for a moment that looks for stale ones."""
    with (run_directory() / f"worker-{os.getpid()}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file


def test_a_look_at_a_new_lock_does_not_leave_the_worker_without_it(
    probed: BinaryIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: probed.close())
    WorkerLock(NO_PROCESS)
    assert caplog.records == []
    assert [each.pid for each in stale_workers("cpu")] == [os.getpid()]


def test_a_lock_that_another_process_keeps_does_not_keep_a_worker_from_starting(
    probed: BinaryIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pid may be the same in another container that shares the directory."""
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.0)
    WorkerLock(NO_PROCESS)
    assert not probed.closed
    assert "no lock for this process" in caplog.text


def test_the_run_directory_is_the_services_the_users_or_a_temporary_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run_directory() == tmp_path / "livecaption"
    assert (tmp_path / "livecaption").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    assert run_directory() == tmp_path
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run_directory() == tmp_path / f"livecaption-{os.getuid()}"


def test_a_directory_that_somebody_else_may_have_laid_out_is_not_used(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    directory = tmp_path / "livecaption"
    directory.symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="not a directory owned by this user"):
        run_directory()
    WorkerLock(1)
    assert list(elsewhere.iterdir()) == []
    directory.unlink()
    directory.write_text("")
    with pytest.raises(PermissionError, match="not a directory owned by this user"):
        run_directory()
    directory.unlink()
    directory.mkdir()
    for mode in (0o720, 0o702):
        directory.chmod(mode)
        with pytest.raises(PermissionError, match="writable by other users"):
            run_directory()
    directory.chmod(0o755)
    assert run_directory() == directory


def test_a_worker_goes_on_if_its_lock_cannot_name_the_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock = WorkerLock(1)

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    lock.name_device("GPU-3")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_without_a_directory_a_worker_goes_on_without_a_lock(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc")
    WorkerLock(1).name_device("cpu")
    assert stale_workers("cpu") == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
