"""Each inference process holds a lock for life, by which workers are found that an earlier server left behind.

The kernel releases the lock whenever its holder ends. Unlike a bare pid in a file, the lock is therefore proof that the
worker lives. A worker is stale if the server that started it is no longer its parent. Workers of another server that
still runs are left alone. Windows has no such locks, because the job object leaves no worker behind.

The lock names the device: `cpu`, or the UUID of a GPU. Its number would not do, because it depends on
`CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` of each process. Only a worker can read the UUID, because the server's
process must not call CUDA. So each worker names its own device before it loads the model, and waits for it itself.
"""

import errno
import json
import logging
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from livecaption.errors import EngineUnusable
from livecaption.ipc.config import RAY, StaleConfig

if sys.platform != "win32":
    import fcntl

STALE_INTERVAL_S = 0.1
LOCK_TIMEOUT_S = 1.0
"""Time in which a new lock becomes free. Another worker that looks for stale ones holds it for microseconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The content of a worker's lock. It distinguishes the worker from another process that was given its pid.

    Attributes:
        device: `cpu`, `ray`, or the UUID of a GPU. Empty: not known yet, so it may be any. So may another name, which
            an earlier version wrote from its settings.
    """

    pid: int
    server_pid: int
    device: str
    created_s: float
    command: list[str]


class WorkerLock:
    """This process's lock, from now on until the process ends. If it cannot be taken, log that and go on."""

    def __init__(self, server_pid: int) -> None:
        process = psutil.Process()
        self._identity = WorkerIdentity(process.pid, server_pid, "", process.create_time(), process.cmdline())
        self._file: int | None = None
        if sys.platform == "win32":
            return
        try:
            file = os.open(_path(run_directory(), process.pid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _lock(file)
            os.ftruncate(file, 0)
            self._file = file
            self._write()
        except OSError as error:
            logger.warning("no lock for this process: %s", error)

    def name_device(self, device: str) -> None:
        """Record on which device this process is. If that cannot be written, log it and go on."""
        self._identity = replace(self._identity, device=device)
        if self._file is None:
            return
        try:
            self._write()
        except OSError as error:
            logger.warning("the lock of this process does not name its device: %s", error)

    def _write(self) -> None:
        """Write the content. The device is named once, so it only grows, and at no time is it cut off."""
        assert self._file is not None
        os.pwrite(self._file, json.dumps(asdict(self._identity)).encode(), 0)


def wait_for_device(device: str, config: StaleConfig) -> None:
    """Wait until no worker of an earlier server is on the device. This blocks.

    Args:
        device: `cpu`, or the UUID of a GPU.
        config: how long to wait, and whether such a worker is killed.

    Raises:
        EngineUnusable: one is still there.
    """
    give_up_s = time.monotonic() + config.timeout_s
    reported: set[int] = set()
    while stale := stale_workers(device):
        for worker in stale:
            if worker.pid not in reported:
                reported.add(worker.pid)
                logger.warning("an earlier server's inference process (pid %d) is still there", worker.pid)
                if config.kill and not kill_stale(worker):
                    logger.error("pid %d is another process by now and is left alone", worker.pid)
        if time.monotonic() > give_up_s:
            pids = ", ".join(str(worker.pid) for worker in stale)
            raise EngineUnusable(
                f"an earlier server's inference process still holds the device (pid {pids}): --kill-stale ends it"
            )
        time.sleep(STALE_INTERVAL_S)


def discard_lock(pid: int) -> None:
    """Remove the lock file of a worker that has ended."""
    if sys.platform != "win32":
        _path(run_directory(), pid).unlink(missing_ok=True)


def stale_workers(device: str) -> list[WorkerIdentity]:
    """Return the workers that have outlived their server and may be on this device. Remove locks of ended ones."""
    if sys.platform == "win32":
        return []
    return [identity for identity in _held_locks() if _may_be_on(device, identity) and _orphaned(identity)]


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


def has_taken(file: int) -> bool:
    """Take the lock of a file or directory, until that is closed. Return False if another process keeps it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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


def _lock(file: int) -> None:
    """Take the lock.

    Raises:
        OSError: somebody keeps it: a worker with the same pid in another container that shares the directory.
    """
    give_up_s = time.monotonic() + LOCK_TIMEOUT_S
    while not has_taken(file):
        if time.monotonic() > give_up_s:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        time.sleep(0.001)


def _may_be_on(device: str, identity: WorkerIdentity) -> bool:
    is_known = identity.device in ("cpu", RAY) or identity.device.startswith(("GPU-", "MIG-"))
    return not is_known or identity.device == device


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
