"""A server of PostgreSQL for the tests: the one that the distribution has, with a directory of its own."""

import asyncio
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.eventually import TIMEOUT_FACTOR

USER, PASSWORD = "livecaption", "not-a-secret"


class Cluster:
    """A server of PostgreSQL, on a port of loopback.

    Attributes:
        directory: its data.
        port: its port, which it keeps.
    """

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self.directory = directory
        # PostgreSQL refuses to be root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(directory.parent, account.pw_uid, account.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password = directory.with_name("password")
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--auth", "scram-sha-256", "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C"]
        self._run("initdb", "--pgdata", str(directory), "--username", USER, "--no-sync", *options)
        self._server: subprocess.Popen[bytes] | None = None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], user=self._user, cwd="/", capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers. It ends with the thread that calls this."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",  # the tests end no machine
            "max_connections": 50,
            "shared_buffers": "16MB",
            "log_min_messages": "fatal",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [self._programs / "postgres", "-D", self.directory, *options],
            user=self._user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_the_tests,
        )
        until_s = time.monotonic() + 30 * TIMEOUT_FACTOR
        while subprocess.run([self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            assert self._server.poll() is None, "PostgreSQL has ended"
            assert time.monotonic() < until_s, "PostgreSQL does not answer"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT in order, SIGQUIT at once, as `pg_ctl stop -m fast` and `-m immediate` do."""
        assert self._server is not None
        self._server.send_signal(number)
        self._server.wait(30 * TIMEOUT_FACTOR)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still in this block: connections are accepted, and nothing answers."""
        assert self._server is not None
        server = psutil.Process(self._server.pid)
        processes = [server, *server.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def address(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def empty_database(self) -> str:
        """Return the address of a database without tables: the same one each time, because a new one takes a second."""
        self.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return self.address("postgres")

    def execute(self, sql: str, database: str = "postgres") -> list[Any]:
        """Execute a statement in a connection of its own, and return its rows; of several, none."""

        async def run() -> list[Any]:
            import asyncpg

            connection = await asyncpg.connect(self.address(database))
            try:
                if ";" in sql:
                    await connection.execute(sql)
                    return []
                return [tuple(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as executor:  # the loop of the test may be running
            return executor.submit(asyncio.run, run()).result()


def _die_with_the_tests() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG


def _programs() -> Path | None:
    """Return the directory of the newest server of PostgreSQL here. Debian has it where only its scripts look."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return versions[-1] if versions else None


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make and run a server. Skip the test if there is no PostgreSQL here."""
    programs = _programs()
    if programs is None:
        assert "CI" not in os.environ, "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    # Not below the directories of pytest, which only this user may enter.
    place = Path(tempfile.mkdtemp(prefix="livecaption-postgresql-"))
    try:
        cluster = Cluster(programs, place / "data")
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop(signal.SIGQUIT)  # it need not write anything any more
    finally:
        shutil.rmtree(place, ignore_errors=True)
