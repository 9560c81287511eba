"""Leftovers of an earlier server: processes that hold the lock of a worker."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import psutil
import pytest

from livecaption.ipc.locks import WorkerIdentity, run_directory

NO_PROCESS = 2**22 + 1
"""A pid above the largest one of Linux."""


@contextmanager
def held(identity: WorkerIdentity) -> Iterator[WorkerIdentity]:
    """Hold a lock with this content, in this process."""
    with (run_directory() / f"worker-{identity.pid}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(asdict(identity), file)
        file.flush()
        yield identity


@contextmanager
def waiting_process() -> Iterator[psutil.Popen]:
    """Start a process that does nothing until its input is closed."""
    program = "print(flush=True); input()"
    with psutil.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # a new process has no command line for a moment
        yield process  # closing its input ends it


def orphaned(process: psutil.Popen) -> WorkerIdentity:
    """Describe the process as the worker of a server that is not its parent."""
    return WorkerIdentity(process.pid, NO_PROCESS, "cpu", process.create_time(), process.cmdline())


@pytest.fixture
def process() -> Iterator[psutil.Popen]:
    with waiting_process() as process:
        yield process


@pytest.fixture
def orphan(process: psutil.Popen) -> WorkerIdentity:
    return orphaned(process)


@pytest.fixture
def stale(orphan: WorkerIdentity) -> Iterator[WorkerIdentity]:
    """Start such a worker, and hold its lock."""
    with held(orphan):
        yield orphan
