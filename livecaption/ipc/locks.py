"""Each inference process holds a lock for life, by which a server finds workers that an earlier server left behind.

The kernel releases the lock whenever its holder ends. Unlike a bare pid in a file, the lock is therefore proof that the
worker lives. A worker is stale if the server that started it is no longer its parent. Workers of another server that
still runs are left alone. Windows has no such locks, because the job object leaves no worker behind.
"""

import json
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The content of a worker's lock. It distinguishes the worker from another process that was given its pid."""

    pid: int
    server_pid: int
    device: str
    created_s: float
    command: list[str]


def hold_lock(device: str, server_pid: int) -> None:
    """Take this process's lock and keep it until the process ends. If that fails, log it and go on."""
    if sys.platform == "win32":
        return
    process = psutil.Process()
    identity = WorkerIdentity(process.pid, server_pid, device, process.create_time(), process.cmdline())
    try:
        file = os.open(_path(run_directory(), process.pid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(file, json.dumps(asdict(identity)).encode())
    except OSError as error:
        logger.warning("no lock for this process: %s", error)


def discard_lock(pid: int) -> None:
    """Remove the lock file of a worker that has ended."""
    if sys.platform != "win32":
        _path(run_directory(), pid).unlink(missing_ok=True)


def stale_workers(device: str) -> list[WorkerIdentity]:
    """Return the workers on this device that have outlived their server. Remove the lock files of ended ones."""
    if sys.platform == "win32":
        return []
    return [identity for identity in _held_locks() if _overlap(identity.device, device) and _orphaned(identity)]


def kill_stale(identity: WorkerIdentity) -> bool:
    """Send SIGKILL to this worker. Return False if another process has its pid now, which is left alone."""
    try:
        process = psutil.Process(identity.pid)
        # The tolerance is 1 s: the time counts from the boot, and the system corrects the time of the boot.
        same_age = abs(process.create_time() - identity.created_s) <= 1.0
        if not same_age or process.cmdline() != identity.command:
            return False
        process.kill()
    except psutil.NoSuchProcess:
        pass
    return True


def run_directory() -> Path:
    """Return the directory of this user's locks, created if it is missing.

    Raises:
        OSError: it cannot be created, or another user owns it or may write there.
    """
    if service := os.environ.get("RUNTIME_DIRECTORY"):  # set by systemd
        return Path(service.split(":")[0])
    if user := os.environ.get("XDG_RUNTIME_DIR"):
        directory = Path(user) / "livecaption"
    else:
        directory = Path(tempfile.gettempdir()) / f"livecaption-{os.getuid()}"
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    # Check the entry itself and not the target of a link: in a shared directory, any user may have put a link there.
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{directory} is not a directory owned by this user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{directory} is writable by other users")
    return directory


def _path(directory: Path, pid: int) -> Path:
    return directory / f"worker-{pid}.lock"


def _held_locks() -> Iterator[WorkerIdentity]:
    try:
        paths = list(run_directory().glob("worker-*.lock"))
    except OSError as error:
        logger.warning("cannot look for earlier inference processes: %s", error)
        return
    for path in paths:
        try:
            with path.open("rb") as file:
                if _is_free(file.fileno()):
                    # A running process may be about to take its lock.
                    if not psutil.pid_exists(int(path.stem.removeprefix("worker-"))):
                        path.unlink(missing_ok=True)
                    continue
                yield WorkerIdentity(**json.load(file))
        except (OSError, ValueError, TypeError):
            continue  # removed meanwhile, or a worker that starts writes it; the server of such a worker runs


def _is_free(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _orphaned(identity: WorkerIdentity) -> bool:
    try:
        parent_pid: int = psutil.Process(identity.pid).ppid()
        return parent_pid != identity.server_pid
    except psutil.NoSuchProcess:
        return False  # it ended at this moment, or runs in another container that shares the directory


def _overlap(one: str, other: str) -> bool:
    """Return True if two devices may be the same one. `auto` may stand for any device."""
    one, other = ("cuda:0" if device == "cuda" else device for device in (one, other))
    return one == other or "auto" in (one, other)
