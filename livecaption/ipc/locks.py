"""A lock for each inference process, held for life: how a server finds what an earlier one left on its device.

The kernel drops the lock at any death of its holder, so unlike a bare pid in a file it cannot lie: a worker that
holds one lives. It is stale if the server that started it is not its parent any more; a worker of another server that
runs is nobody's business. Not on Windows, where the job object leaves none behind.
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
    """What a worker writes into its lock: enough to tell it from another process that was given its pid."""

    pid: int
    server_pid: int
    device: str
    created_s: float
    command: list[str]


def hold_lock(device: str, server_pid: int) -> None:
    """Take this process's lock and keep it until the end. Where that cannot be, go on without."""
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
    """Remove what a worker of ours that has ended left of its lock."""
    if sys.platform != "win32":
        _path(run_directory(), pid).unlink(missing_ok=True)


def stale_workers(device: str) -> list[WorkerIdentity]:
    """Workers on this device that have outlived their server. Locks of dead ones are removed on the way."""
    if sys.platform == "win32":
        return []
    return [identity for identity in _held_locks() if _overlap(identity.device, device) and _orphaned(identity)]


def kill_stale(identity: WorkerIdentity) -> bool:
    """SIGKILL to this worker; False: what has its pid now is not it, and was left alone."""
    try:
        process = psutil.Process(identity.pid)
        # A second, because it is counted from the boot, and the clock that tells when that was is corrected.
        same_age = abs(process.create_time() - identity.created_s) <= 1.0
        if not same_age or process.cmdline() != identity.command:
            return False
        process.kill()
    except psutil.NoSuchProcess:
        pass
    return True


def run_directory() -> Path:
    """Where this user's locks are; made if it is missing.

    Raises:
        OSError: it cannot be made, or somebody else made it, or may write there.
    """
    if service := os.environ.get("RUNTIME_DIRECTORY"):  # of systemd
        return Path(service.split(":")[0])
    if user := os.environ.get("XDG_RUNTIME_DIR"):
        directory = Path(user) / "livecaption"
    else:
        directory = Path(tempfile.gettempdir()) / f"livecaption-{os.getuid()}"
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    # Of itself, not of what a link leads to: in a directory for everybody, anybody may have put a link there.
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{directory} is no directory of this user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{directory} may be written by others")
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
                    # A process that lives may be about to take it.
                    if not psutil.pid_exists(int(path.stem.removeprefix("worker-"))):
                        path.unlink(missing_ok=True)
                    continue
                yield WorkerIdentity(**json.load(file))
        except (OSError, ValueError, TypeError):
            continue  # removed meanwhile, or being written by a worker that starts, which has its server


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
        return False  # ended this moment, or in a container that shares the directory


def _overlap(one: str, other: str) -> bool:
    """Whether two devices may be the same one; what `auto` has taken is not known."""
    one, other = ("cuda:0" if device == "cuda" else device for device in (one, other))
    return one == other or "auto" in (one, other)
