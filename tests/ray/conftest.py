"""A Ray cluster on this machine, with two GPUs that are only numbers, a token and TLS."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import Authority, written
from tests.support.commands import ROOT

START_TIMEOUT_S = 90
N_GPUS = 2

if find_spec("ray") is None:
    if "CI" in os.environ:
        raise RuntimeError("Ray is missing: pip install -e '.[ray]'")
    collect_ignore_glob = ["test_*.py"]


class Cluster:
    """A head, which is a cluster of one machine.

    Args:
        directory: gets its certificates, logs and sockets; a short path, because sockets have a limit.

    Attributes:
        variables: what drivers need.
    """

    def __init__(self, directory: Path) -> None:
        host, port = own_address(), free_port()
        both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        authority = Authority()
        certificate, key = written(directory, *authority.issue("localhost", "127.0.0.1", host, usages=both))
        (directory / "authority.pem").write_bytes(authority.pem)
        self.variables = {
            "RAY_ADDRESS": f"{host}:{port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": str(certificate),
            "RAY_TLS_SERVER_KEY": str(key),
            "RAY_TLS_CA_CERT": str(directory / "authority.pem"),
        }
        start = ("start", "--head", "--block", f"--port={port}", f"--temp-dir={directory}", "--disable-usage-stats")
        resources = (f"--num-gpus={N_GPUS}", "--num-cpus=2", "--object-store-memory=80000000")
        self._log = directory / "start.log"
        with self._log.open("wb") as log:
            self._head = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *start, *resources, "--include-dashboard=false"],
                env={**os.environ, **self.variables, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_start(self) -> None:
        """Wait until drivers may come."""
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while b"Ray runtime started" not in (log := self._log.read_bytes()):
            assert self._head.poll() is None, log.decode()
            assert time.monotonic() < give_up_s, log.decode()
            time.sleep(0.1)

    def raylet(self) -> psutil.Process:
        """Return the process that starts the actors."""
        [found] = [each for each in psutil.Process(self._head.pid).children() if each.name() == "raylet"]
        return found

    def actors(self) -> list[int]:
        """Return the process ids of all actors of livecaption."""
        with suppress(psutil.NoSuchProcess, ValueError):
            return [each.pid for each in self.raylet().children() if "ray::Host" in "".join(each.cmdline())]
        return []

    def end(self) -> None:
        """Kill all its processes."""
        with suppress(psutil.NoSuchProcess):
            for each in [*psutil.Process(self._head.pid).children(recursive=True), psutil.Process(self._head.pid)]:
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGKILL)
        self._head.wait()


def own_address() -> str:
    """Return the address that Ray gives to this machine: that of the interface that leads to others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("8.8.8.8", 80))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(one.getsockname()[0])


def free_port() -> int:
    with socket.create_server(("", 0)) as one:
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    """Start the cluster of all tests, which takes eleven seconds."""
    with tempfile.TemporaryDirectory(prefix="lc-ray-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        cluster = Cluster(Path(directory))
        try:
            cluster.await_start()
            yield cluster
        finally:
            cluster.end()


@pytest.fixture
def cluster(running_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, as the environment of this test names it."""
    for name, value in running_cluster.variables.items():
        monkeypatch.setenv(name, value)
    return running_cluster
