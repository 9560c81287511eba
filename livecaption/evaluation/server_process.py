"""Run `livecaption serve` as a process, and observe its log, its end, and anything that it leaves behind.

    async with serving("--drain-timeout", "3") as server:
        await server.ready()
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=0.5) == 0
        assert await server.leftovers() == []

This is for tests and measurements, on Linux. Nothing here polls the server: its output and the ends of processes
(pidfd) are events of the running loop. LIVECAPTION_TEST_TIMEOUT_FACTOR multiplies every limit, for slow machines.
"""

import asyncio
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from livecaption.evaluation.process_end import TIMEOUT_FACTOR, Patience, ProcessEnd
from livecaption.ipc.lifeline import die_with_parent

START_TIMEOUT_S = 20.0
TREE_GONE_WITHIN_S = 0.25
"""Time that other processes may outlive the server: its workers after SIGKILL, and multiprocessing's tracker always."""
OTHERS_WITHIN_S = 20.0
"""In this time other programs free the port that they were given, and remove the shared memory that they left. Shorter:
what they have is counted. Longer: only the report of a real leftover comes later."""
OTHERS_LOOK_S = 0.1
MARKER = "LIVECAPTION_TEST_MARKER"

FORBIDDEN = ("Traceback", "another loop", "was never awaited", "Task was destroyed", "Exception ignored")
"""Words that are not in the log of a server that ended well."""

COMMAND = (sys.executable, "-m", "livecaption")
"""The program. Its arguments follow."""


@asynccontextmanager
async def serving(
    *flags: str,
    engine: str = "scripted",
    terminal: bool = False,
    command: Sequence[str] = COMMAND,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator["ServerProcess"]:
    """Start a server on a free port of loopback, in its own session and process group.

    All its processes are killed at the end. Call `leftovers` before to check for them.

    Args:
        flags: more flags for `serve`.
        engine: the engine; empty: the default, a real model.
        terminal: whether it runs in its own terminal, as the foreground process group.
        command: the program, for instance with `unshare` before it.
        environment: more environment variables.
    """
    with tempfile.TemporaryDirectory(prefix="livecaption-test-") as directory:
        chosen_engine = ("--engine", engine) if engine else ()
        arguments = [*command, "serve", "--port", "0", *chosen_engine, *flags]
        server = ServerProcess(arguments, Path(directory), terminal=terminal, environment=environment or {})
        try:
            yield server
        finally:
            server.dispose()


class ServerProcess:
    """A running server, made by `serving`. It belongs to the running loop."""

    def __init__(
        self, arguments: Sequence[str], directory: Path, *, terminal: bool, environment: Mapping[str, str]
    ) -> None:
        self.directory = directory
        """Its TMPDIR and XDG_RUNTIME_DIR, which hold all files that it may leave behind."""
        self.lines: list[str] = []
        """The lines that it has written to stderr (in a terminal also those of stdout)."""
        self._marker = f"{MARKER}={uuid.uuid4().hex}"
        self._shared_memory_before = _unmapped_shared_memory()
        self._loop = asyncio.get_running_loop()
        self._unfinished_line = b""
        self._watchers: list[Callable[[], None]] = []
        if terminal:
            self._output, theirs = os.openpty()
        else:
            self._output, theirs = os.pipe()
        self.process = subprocess.Popen(
            arguments,
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs if terminal else subprocess.DEVNULL,
            stderr=theirs,
            cwd=directory,
            start_new_session=True,
            preexec_fn=_log_in if terminal else _reset_signals,
            env={
                **os.environ,
                MARKER: self._marker.partition("=")[2],
                "TMPDIR": str(directory),
                "XDG_RUNTIME_DIR": str(directory),
                # Sessions of tests and measurements must not be stored among the user's transcripts.
                "LIVECAPTION_STORE": "none",
                **environment,
            },
        )
        os.close(theirs)
        self._end = ProcessEnd(self.process.pid)
        os.set_blocking(self._output, False)
        self._output_open = True
        self._loop.add_reader(self._output, self._read)

    # Its log

    async def listening(self) -> str:
        """Wait until the server listens, and return its URL, such as `http://127.0.0.1:41234/`."""
        return (await self.logged(r"listening on (\S+)"))[1]

    async def ready(self) -> str:
        """Wait until the model is loaded, and return the server's URL."""
        await self.logged(r" livecaption: ready$")
        return await self.listening()

    async def logged(self, pattern: str, within_s: float = START_TIMEOUT_S) -> re.Match[str]:
        """Wait for a line of the log that matches, and return the first match. Earlier lines count too.

        Raises:
            TimeoutError: the server ended, or the time has passed, without such a line.
        """
        n_seen = 0
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal n_seen, found
            while n_seen < len(self.lines) and not found:
                found = re.search(pattern, self.lines[n_seen])
                n_seen += 1
            return found is not None or not self._output_open

        with suppress(TimeoutError):
            await self._wait_for(look, within_s)
        if found is None:
            raise TimeoutError(f"{pattern!r} was not logged within {within_s} s:\n{self.output}")
        return found

    @property
    def output(self) -> str:
        """The whole log so far."""
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        """The process id of the started program, which is the server unless another command starts it."""
        return self.process.pid

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the inference processes that run now."""
        return [pid for pid in self.tree() if b"spawn_main" in _read_proc(pid, "cmdline")]

    def catches(self, number: signal.Signals) -> bool:
        """Return True if the server process has a handler for this signal now."""
        match = re.search(rb"^SigCgt:\s*(\w+)", _read_proc(self.pid, "status"), re.MULTILINE)
        return match is not None and bool(int(match[1], 16) >> (number - 1) & 1)

    def tree(self) -> list[int]:
        """Return the process ids of the server, its workers and multiprocessing's tracker, without zombies."""
        return processes_with(self._marker)

    # Signals and its terminal

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server process only."""
        self.process.send_signal(number)

    def send_to_all(self, number: signal.Signals) -> None:
        """Send a signal to each of its processes, as systemd does with KillMode=control-group."""
        for pid in self.tree():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the server's process group, as a shell or a `kill -9 -pgid` does."""
        os.killpg(self.pid, number)

    def type(self, keys: bytes) -> None:
        """Type into its terminal, such as b"\\x03" for Ctrl+C."""
        os.write(self._output, keys)

    def close_terminal(self) -> None:
        """Close the terminal's window: hang-up for its foreground group, and dead descriptors."""
        self._close_output()

    # Its end

    async def exited(self, within_s: float) -> int:
        """Wait for the end of the server, and return its exit code, which is -n after signal n.

        Raises:
            TimeoutError: the server did not end within the time.
        """
        try:
            await self._end.wait_with(Patience(within_s, self.tree()), "the server")
        except TimeoutError:
            raise TimeoutError(f"not ended within {within_s:.3f} s; its log:\n{self.output}") from None
        return self.process.wait()

    @property
    def ended_s(self) -> float:
        """The time of its end (time.monotonic). The server must have ended."""
        return self._end.ended_s

    async def leftovers(
        self, within_s: float = TREE_GONE_WITHIN_S, others_within_s: float = OTHERS_WITHIN_S
    ) -> list[str]:
        """Describe everything that the server left behind: processes, port, locks, files, shared memory, tracebacks.

        Args:
            within_s: time that its other processes may outlive the server.
            others_within_s: time that other programs may use its port, and may have shared memory that looks left.
        """
        left = []
        try:
            await self.tree_gone(within_s)
            # The last lines may still be in the pipe. It gets closed, because no process is left that has it open.
            await self._wait_for(lambda: not self._output_open, START_TIMEOUT_S)
        except TimeoutError as error:
            left.append(str(error))
        match = re.search(r"listening on \w+://[^\s/]*:(\d+)/", self.output)
        if match and not await _becomes(lambda: is_port_free(int(match[1])), others_within_s):
            left.append(f"port {match[1]} is taken")
        left += [f"logged: {line}" for line in self.lines if any(word in line for word in FORBIDDEN)]
        for path in self.directory.rglob("*"):
            if path.is_file() and (path.suffix != ".lock" or is_locked(path)):
                left.append(f"file {path.relative_to(self.directory)}")
        return left + [f"shared memory {name}" for name in sorted(await self._left_shared_memory(others_within_s))]

    async def _left_shared_memory(self, others_within_s: float) -> set[str]:
        """Name the shared memory that appeared since the start and that nobody has or removes."""
        left = _unmapped_shared_memory() - self._shared_memory_before

        def is_removed() -> bool:
            # Another program may have been killed just now, and its tracker is about to remove what it had.
            left.intersection_update(_unmapped_shared_memory())
            return not left

        await _becomes(is_removed, others_within_s)
        return left

    async def tree_gone(self, within_s: float = TREE_GONE_WITHIN_S) -> None:
        """Wait until all its processes have ended.

        Raises:
            TimeoutError: a process did not end within the time.
        """
        patience = Patience(within_s, self.tree())
        # Repeat until none is found, because a process may start while another one ends.
        while pids := self.tree():
            for pid in pids:
                with suppress(ProcessLookupError), ProcessEnd(pid) as end:
                    await end.wait_with(patience, _describe(pid))

    def dispose(self) -> None:
        """Kill all remaining processes and close all descriptors."""
        while self.tree():
            self.send_to_all(signal.SIGKILL)
        self.process.wait()
        self._end.close()
        self._close_output()

    def _read(self) -> None:
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return
        except OSError:  # EIO: no process has the other side of the terminal open
            data = b""
        *lines, self._unfinished_line = (self._unfinished_line + data).split(b"\n")
        self.lines += [line.decode(errors="replace").rstrip("\r") for line in lines]
        if not data:
            self._close_output()
        self._notify()

    def _close_output(self) -> None:
        if self._output_open:
            self._output_open = False
            self._loop.remove_reader(self._output)
            os.close(self._output)
            if self._unfinished_line:
                self.lines.append(self._unfinished_line.decode(errors="replace"))
            self._notify()

    def _notify(self) -> None:
        for look in list(self._watchers):
            look()

    async def _wait_for(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until `condition` holds. It is checked at each new output and when the output is closed."""
        holds = asyncio.Event()

        def look() -> None:
            if condition():
                holds.set()

        self._watchers.append(look)
        try:
            look()
            async with asyncio.timeout(within_s * TIMEOUT_FACTOR):
                await holds.wait()
        finally:
            self._watchers.remove(look)


def processes_with(variable: str) -> list[int]:
    """Return the process ids of all processes with `NAME=value` in their environment. Zombies have none."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if variable.encode() in _read_proc(pid, "environ").split(b"\0")]


async def _becomes(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait until a condition holds, of which nothing reports a change. Return False if it does not in this time."""
    for _ in range(round(within_s / OTHERS_LOOK_S)):
        if condition():
            return True
        await asyncio.sleep(OTHERS_LOOK_S)
    return condition()


def is_port_free(port: int) -> bool:
    """Return True if no process listens on the port. Closed connections in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_locked(path: Path) -> bool:
    """Return True if a process holds a lock on the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _reset_signals() -> None:
    """Run in the child: undo the ignored signals that shells set for background processes; end with this program."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent()


def _log_in() -> None:
    """Run in the child: make the terminal the controlling one, so that hang-up and Ctrl+C reach the group."""
    _reset_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read_proc(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.readall()
    except OSError:
        return b""


def _describe(pid: int) -> str:
    return f"{pid}: {_read_proc(pid, 'cmdline').replace(bytes(1), b' ').decode(errors='replace')}"


def _unmapped_shared_memory() -> set[str]:
    """Name what multiprocessing keeps in /dev/shm for this user and no living process maps.

    What a process maps is in use, by this server or by any other program. Device and number identify the file, because
    a semaphore is mapped under the temporary name that it was made with.
    """
    kept = {}
    for entry in os.scandir("/dev/shm"):
        with suppress(FileNotFoundError):
            status = entry.stat()
            if entry.name.startswith(("psm_", "sem.mp-")) and status.st_uid == os.getuid():
                device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
                kept[device.encode(), str(status.st_ino).encode()] = entry.name
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    for pid in pids if kept else ():  # a browser has many maps, and usually nothing is kept
        for line in _read_proc(pid, "maps").splitlines():
            if b"/dev/shm/" in line:
                _, _, _, device_of_map, inode, *_ = line.split()
                kept.pop((device_of_map, inode), None)
    return set(kept.values())
