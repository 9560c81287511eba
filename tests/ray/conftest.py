"""A Ray cluster of two machines, with a token and TLS. The GPU of the second one is only a number."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import Authority, written
from tests.support.commands import ROOT
from tests.support.machines import FarMachine, far_machine

START_TIMEOUT_S = 90

if find_spec("ray") is None:
    if "CI" in os.environ:
        raise RuntimeError("Ray is missing: pip install -e '.[ray]'")
    collect_ignore_glob = ["test_*.py"]


class Cluster:
    """The machine of the servers, which has the head, and the machine of the GPU.

    Args:
        directory: gets its certificates, logs and sockets; a short path, because sockets have a limit.
        far: the machine of the GPU; None: it is this one, with another raylet.

    Attributes:
        variables: what drivers need.
        far: as the argument.
    """

    def __init__(self, directory: Path, far: FarMachine | None) -> None:
        self.far = far
        self._directory = directory
        self._addresses = (far.near, far.address) if far else (own_address(), own_address())
        self._port = free_port()
        both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        authority = Authority()
        certificate, key = written(
            directory, *authority.issue("localhost", "127.0.0.1", *{*self._addresses}, usages=both)
        )
        (directory / "authority.pem").write_bytes(authority.pem)
        self.variables = {
            "RAY_ADDRESS": f"{self._addresses[0]}:{self._port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": str(certificate),
            "RAY_TLS_SERVER_KEY": str(key),
            "RAY_TLS_CA_CERT": str(directory / "authority.pem"),
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both machines, and return when drivers may come."""
        near, far = self._addresses
        # Ray has a server for remote drivers if it finds gRPC, at a port that another cluster may have.
        port = [f"--ray-client-server-port={free_port()}"] if find_spec("grpc") else []
        unneeded = ("--include-dashboard=false", "--no-monitor", *port)
        head = ("--head", f"--port={self._port}", f"--temp-dir={self._directory}", "--num-gpus=0")
        self._start(*head, *unneeded, address=near)
        self._await(lambda: is_open(near, self._port))
        self._start(f"--address={self.variables['RAY_ADDRESS']}", "--num-gpus=1", address=far)
        self._await(lambda: self._log(0).count("Ray runtime started") + self._log(1).count("Ray runtime started") == 2)

    def _start(self, *flags: str, address: str) -> None:
        inside = self.far.inside if self.far and self._started else ()
        always = (f"--node-ip-address={address}", "--num-cpus=1", "--object-store-memory=80000000", "--block")
        quiet = ("--include-log-monitor=false", "--disable-usage-stats")
        with (self._directory / f"start-{len(self._started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*inside, sys.executable, "-m", "ray.scripts.scripts", "start", *flags, *always, *quiet],
                # A dead machine is noticed after 2.5 s; one that is cut off for as long as here is not given up.
                env=os.environ | self.variables | {"PYTHONPATH": str(ROOT), "RAY_health_check_period_ms": "500"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)

    def _log(self, machine: int) -> str:
        return (self._directory / f"start-{machine}.log").read_text()

    def _await(self, condition: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not condition():
            for machine, process in enumerate(self._started):
                assert process.poll() is None, self._log(machine)
                assert time.monotonic() < give_up_s, self._log(machine)
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """Kill one process of the machine of the servers and let the others run: gcs_server (the head) or raylet."""
        psutil.Process(self._started[0].pid).suspend()  # it would end the others
        self._child(0, name).kill()

    def actors(self) -> list[int]:
        """Return the process ids of all actors of livecaption."""
        with suppress(psutil.NoSuchProcess, ValueError):
            actors = [each for each in self._child(1, "raylet").children() if "ray::Host" in "".join(each.cmdline())]
            return [each.pid for each in actors if each.status() != psutil.STATUS_ZOMBIE]
        return []

    def _child(self, machine: int, name: str) -> psutil.Process:
        children = psutil.Process(self._started[machine].pid).children()
        [found] = [each for each in children if each.name() == name]
        return found

    def end(self) -> None:
        """Kill all its processes."""
        for start in self._started:
            with suppress(psutil.NoSuchProcess):
                for each in [*psutil.Process(start.pid).children(recursive=True), psutil.Process(start.pid)]:
                    with suppress(psutil.NoSuchProcess):
                        each.send_signal(signal.SIGKILL)
            start.wait()
        self._started.clear()


def own_address() -> str:
    """Return the address of the interface that leads to other machines."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("8.8.8.8", 80))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(one.getsockname()[0])


def is_open(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def free_port() -> int:
    with socket.create_server(("", 0)) as one:
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster of all tests, which takes twelve seconds to start."""
    with (
        tempfile.TemporaryDirectory(prefix="lc-ray-", dir="/tmp", ignore_cleanup_errors=True) as directory,
        far_machine() as far,
    ):
        cluster = Cluster(Path(directory), far)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.end()
