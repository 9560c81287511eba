"""The program as a process of its own that needs no imports: a fork of a process that has them already.

Imports are most of the CPU time of a short command. A fork has its own descriptors, environment, terminal and signals,
and it ends as any process does. Where that is not enough, `is_cold` is true.
"""

import asyncio
import atexit
import fcntl
import gc
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from typing import Any

PRELOADED = [
    "livecaption.audio.container",
    "livecaption.cli",
    "livecaption.client",
    "livecaption.server",
    "rich.live",
    "rich.progress",
]
MESSAGE_BYTES = 1 << 17
HIGH = 500
"""Received descriptors wait from this number on, until those of the forking process are closed."""


def is_cold(variables: Mapping[str, str]) -> bool:
    """Return True if a fork does not do: Python reads the variables at its start, or tests look for them in `/proc`."""
    return any(name.startswith("PYTHON") or name == "LIVECAPTION_TEST_MARKER" for name in variables)


class WarmProgram:
    """A started program.

    Attributes:
        pid: its process id.
        returncode: its exit code once `wait` has returned, else None.
    """

    _socket: socket.socket | None = None
    """The connection to the process that forks, once it has started."""

    def __init__(self, pid: int, report: asyncio.StreamReader, pipe: asyncio.ReadTransport) -> None:
        self.pid = pid
        self._report = report
        self._pipe = pipe
        self.returncode: int | None = None

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[int, int],
        *,
        in_terminal: bool = False,
    ) -> "WarmProgram":
        """Start the program.

        Args:
            arguments: the words after the program's name.
            environment: all its environment variables.
            descriptors: those of this process, by the number that each has in the program; 0, 1 and 2 among them.
            in_terminal: whether descriptor 0 is to become its controlling terminal.
        """
        if cls._socket is None:
            cls._socket = _start_forking()
        read_end, write_end = os.pipe()
        request = {
            "arguments": arguments,
            "environment": dict(environment),
            "directory": os.getcwd(),
            "numbers": list(descriptors),
            "in_terminal": in_terminal,
        }
        socket.send_fds(cls._socket, [json.dumps(request).encode()], [write_end, *descriptors.values()])
        os.close(write_end)
        report, pipe = await _reader(read_end)
        [pid] = struct.unpack("<i", await report.readexactly(4))
        return cls(pid, report, pipe)

    async def wait(self) -> int:
        """Wait for the end and return the exit code: the negative number of a signal that has ended it."""
        if self.returncode is None:
            [status] = struct.unpack("<i", await self._report.readexactly(4))
            self._pipe.close()
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """Return a reader of a pipe, and the pipe, which closes at its end."""
    stream = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(stream)
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(descriptor, "rb", 0))
    return stream, pipe


async def read_all(descriptor: int) -> bytes:
    """Return all that comes from a pipe, and close it."""
    stream, _ = await _reader(descriptor)
    return await stream.read()


def _start_forking() -> socket.socket:
    """Start the process that forks. It ends with this one, when its socket closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_program", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _fork_programs(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Return the request in the process that is to be the program, and None at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait
    while True:
        message, received, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 16)
        if not message:
            return None
        if os.fork() == 0:
            break
        for descriptor in received:
            os.close(descriptor)
    connection.detach()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request: dict[str, Any] = json.loads(message)
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH) for descriptor in received]
    report, *given = high
    os.closerange(3, HIGH)
    if (pid := os.fork()) != 0:
        for descriptor in (0, 1, 2, *given):
            os.close(descriptor)
        os.write(report, struct.pack("<i", pid))
        _, status = os.waitpid(pid, 0)
        os.write(report, struct.pack("<i", status))
        os._exit(0)
    for descriptor, number in zip(given, request["numbers"], strict=True):
        os.dup2(descriptor, number)
    for descriptor in high:
        os.close(descriptor)
    return request


def _become(request: dict[str, Any]) -> None:
    """Be the program, as if it had just started."""
    if request["in_terminal"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["livecaption", *request["arguments"]]
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        before = getattr(sys, name)
        by_line = name == "stderr" or os.isatty(number)
        stream = open(number, mode, 1 if by_line else -1, before.encoding, before.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)


def main() -> int:
    """Import what commands need, then fork for each request, and be the program in the fork."""
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()
    request = _fork_programs(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return 0
    _become(request)
    # Processes that the program starts import the module that is the main one.
    sys.modules["__main__"] = program = importlib.import_module("livecaption.__main__")
    code: int = program.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
