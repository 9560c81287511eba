"""New Python processes that need no imports: forks of a process that has them already.

Imports are most of the CPU time of a process that a test starts. After `install`, three kinds of them are forks: the
project's modules (`python -m livecaption`), the children of multiprocessing, and the scripts among `SCRIPTS`. A fork
gets what `exec` would give it: parent, descriptors, environment, directory, session, signals, and its lines in `/proc`.
Other processes start as always, and so do those of a test with the fixture `cold_processes`, and all of them with the
environment variable `LIVECAPTION_TEST_COLD=1`.

                 pytest ── clone ──┬─ program ── clone ── its worker
                    └─ template ───┘     └─ template ──────┘

The template is a process without threads. It forks with CLONE_PARENT, so that the new process is a child of the process
that asks. For its own children a program has a template of its own, a fork of the first one.
"""

import _posixsubprocess
import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import os
import pickle
import platform
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    str(ROOT / "tests" / name)
    for name in ("processes/faulty.py", "processes/run_app.py", "support/decoder_parent.py", "support/worker_parent.py")
]
PARENTS = {"listen", "serve", "transcribe"}
"""Commands that start processes."""
PRELOADED = [
    "livecaption.audio.container",
    "livecaption.cli.listen",
    "livecaption.cli.serve",
    "livecaption.cli.transcribe",
    "livecaption.client",
    "livecaption.decoding.process",
    "livecaption.engine.main",
    "livecaption.engine.scripted",
    "livecaption.evaluation.server_process",
    "livecaption.server.app",
    "multiprocessing.popen_spawn_posix",
    "multiprocessing.resource_tracker",
    "multiprocessing.spawn",
    "rich.live",
    "rich.progress",
]
MESSAGE_BYTES = 1 << 17
MAX_DESCRIPTORS = 64
HIGH = 500
"""The connection for the answer. Received descriptors wait above it, until those of the template are closed."""
ARGUMENTS_BYTES, ENVIRONMENT_BYTES = 1 << 10, 1 << 14
"""Space where `/proc` shows the arguments and the environment of a fork. Longer arguments are cut off there."""
ROOM = "LIVECAPTION_TEST_ROOM"
CLONES = {"x86_64": (56, 3), "aarch64": (220, 4)}
"""The number of the system call, and the place of `child_tid` among its arguments after the flags."""
CLONE_PARENT, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
PR_GET_TID_ADDRESS = 40
STOP_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
"""They wait until a fork has the signal mask that it is to have."""
TERMINAL_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
"""A new process ignores those that the process ignores which starts it, such as a shell's in the background."""

_fork_exec: Callable[..., int] = _posixsubprocess.fork_exec


@dataclass(frozen=True)
class Request:
    """A process to be started. `numbers` are those that the descriptors, which come beside, get in it."""

    arguments: list[str]
    environment: list[bytes]
    directory: str
    numbers: list[int]
    new_session: bool
    before: Callable[[], object] | None
    mask: set[int]
    ignored: set[int]


class Template:
    """A process that forks, and whether it is used. It starts with the first process that is to be a fork."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self.is_used = True
        self._connect = connect
        self._connection: socket.socket | None = None
        self._owner = os.getpid()
        self._read_at_start = _read_at_start(_variables())
        self._lock = threading.Lock()

    def serves(self, arguments: Sequence[str], environment: Sequence[bytes]) -> bool:
        """Return True if a fork does: it would start as a new process with these arguments and variables does."""
        first, second, *_ = [*arguments[1:], "", ""]
        is_known = (
            (first == "-m" and second.partition(".")[0] == "livecaption")
            or (first == "-c" and second.startswith("from multiprocessing."))
            or first in SCRIPTS
        )
        is_alike = _read_at_start(environment) == self._read_at_start
        has_room = sum(len(each) + 1 for each in environment) < ENVIRONMENT_BYTES
        # Its forks would end with the thread that started it.
        has_parent = self._connection is not None or threading.current_thread() is threading.main_thread()
        is_ours = self._owner == os.getpid()
        return self.is_used and is_ours and is_known and is_alike and has_room and has_parent

    def fork(self, message: bytes, descriptors: Sequence[int]) -> int:
        """Start a process, and return its id."""
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
                atexit.register(self._connection.close)
            socket.send_fds(self._connection, [message], descriptors)
            answer = self._connection.recv(4)
        if not answer:
            raise OSError("the template has ended")
        pid: int = struct.unpack("<i", answer)[0]
        return pid


def _variables() -> list[bytes]:
    return [b"%s=%s" % each for each in os.environb.items()]


def _read_at_start(environment: Sequence[bytes]) -> set[bytes]:
    """Choose the variables that Python and libraries read before the program runs."""
    names = (b"LD_", b"MALLOC_", b"OMP_", b"PYTHON")
    as_here = (b"PYTHONPATH=" + os.fsencode(ROOT), b"PYTHONUNBUFFERED=1")
    return {each for each in environment if each.startswith(names) and each not in as_here}


def install() -> Template | None:
    """Let the processes that this one starts be forks, where the system allows it."""
    if sys.platform != "linux" or platform.machine() not in CLONES:
        return None
    return _use(_start)


def _start() -> socket.socket:
    """Start the template. It ends together with this process, when its connection closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_python", str(theirs.fileno()), "." * ARGUMENTS_BYTES],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", ROOM: "." * ENVIRONMENT_BYTES},
        start_new_session=True,
    )
    process.returncode = 0  # nobody waits for it
    theirs.close()
    return ours


def _use(connect: Callable[[], socket.socket]) -> Template:
    template = Template(connect)
    # Those of this interpreter, with which multiprocessing starts its children.
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags")()  # noqa: B009

    def start(
        arguments: Sequence[Any],
        executables: Sequence[bytes],
        close_descriptors: bool,
        kept: Sequence[int],
        directory: Any,
        variables: Sequence[bytes] | None,
        *rest: Any,
    ) -> int:
        stdin, _, _, stdout, _, stderr, _, failures, _, new_session, group, gid, gids, uid, mask, before, *_ = rest
        words = [os.fsdecode(each) for each in arguments]
        if words[1 : 1 + len(flags)] == flags:
            del words[1 : 1 + len(flags)]
        environment = _variables() if variables is None else list(variables)
        is_plain = close_descriptors and (group, gid, gids, uid, mask) == (-1, None, None, None, -1)
        if is_plain and words[0] == sys.executable and template.serves(words, environment):
            descriptors = {number: number for number in kept if number != failures}
            standard = enumerate((stdin, stdout, stderr))
            descriptors |= {number: number if given == -1 else given for number, given in standard}
            blocked = {int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, [])}
            place = os.path.abspath(directory or ".")
            ignored = {int(each) for each in TERMINAL_SIGNALS if signal.getsignal(each) is signal.SIG_IGN}
            request = Request(words, environment, place, list(descriptors), new_session, before, blocked, ignored)
            with suppress(AttributeError, pickle.PicklingError):  # of a function that has no name
                return template.fork(pickle.dumps(vars(request)), list(descriptors.values()))
        return _fork_exec(arguments, executables, close_descriptors, kept, directory, variables, *rest)

    setattr(subprocess, "_fork_exec", start)  # noqa: B010
    setattr(_posixsubprocess, "fork_exec", start)  # noqa: B010
    return template


# In the template


def _forked(connection: socket.socket) -> Request | None:
    """Fork for each request. Return the request in the process that is to be started, and None at the end.

    That process answers by itself, as late as `exec` would: others must not see the arguments of the template.
    """
    while True:
        message, received, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, MAX_DESCRIPTORS)
        if not message:
            return None
        if _clone() == 0:
            break
        for descriptor in received:
            os.close(descriptor)
    os.dup2(connection.detach(), HIGH, inheritable=False)
    request = Request(**pickle.loads(message))
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH + 1) for descriptor in received]
    os.closerange(3, HIGH)
    for descriptor, number in zip(high, request.numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    return request


def _clone() -> int:
    """Fork, but with the same parent. Return the process id, and 0 in the new process."""
    call, place = CLONES[platform.machine()]
    arguments = [0, 0, 0, 0]
    flags = CLONE_PARENT | signal.SIGCHLD
    address = ctypes.c_ulong()
    library = ctypes.PyDLL(None)  # the interpreter must not run anything else meanwhile
    if library.prctl(PR_GET_TID_ADDRESS, ctypes.byref(address)) == 0:
        flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID  # where the C library keeps the id of its thread
        arguments[place - 1] = address.value
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = library.syscall(call, ctypes.c_ulong(flags), *map(ctypes.c_ulong, arguments))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    return pid


def _become(request: Request) -> None:
    """Have the place, the standard streams and the signals of a new process."""
    from livecaption.ipc import children
    from livecaption.ipc.layers import Layer

    if request.new_session:
        os.setsid()
    os.chdir(request.directory)
    _write_over("environ", request.environment)
    _write_over("cmdline", [os.fsencode(each) for each in request.arguments])
    os.environb.clear()
    os.environb.update(each.split(b"=", 1) for each in request.environment)
    if not Layer.EXIT_HOOK.active:
        atexit.unregister(getattr(children, "_end_all"))  # noqa: B009
    for each in TERMINAL_SIGNALS:
        signal.signal(each, signal.SIG_IGN if each in request.ignored else signal.SIG_DFL)
    if request.before:
        request.before()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        before = getattr(sys, name)
        raw = io.FileIO(number, mode, closefd=False)
        is_unbuffered = mode == "w" and b"PYTHONUNBUFFERED=1" in request.environment
        buffer: Any = raw if is_unbuffered else io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
        by_line = name == "stderr" or os.isatty(number)
        stream = io.TextIOWrapper(
            buffer, before.encoding, before.errors, line_buffering=by_line, write_through=is_unbuffered
        )
        setattr(sys, name, stream)
    signal.pthread_sigmask(signal.SIG_SETMASK, request.mask)


def _write_over(name: str, values: Sequence[bytes]) -> None:
    """Write the arguments or the environment where `/proc` reads them."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = map(int, fields[45:47] if name == "cmdline" else fields[47:49])
    text = b"".join(each + b"\0" for each in values)[: end - begin - 1]
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(text.ljust(end - begin, b"\0"))


def _run(arguments: list[str]) -> None:
    """Do what `python` does with these arguments."""
    if arguments[1] == "-c":
        sys.argv = ["-c", *arguments[3:]]
        exec(arguments[2], {"__name__": "__main__"})
        os._exit(0)  # multiprocessing's tracker has nothing to clean up; an interpreter with all imports has
    elif arguments[1] == "-m":
        sys.argv = arguments[2:]
        runpy.run_module(arguments[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments[1:]
        runpy.run_path(arguments[1], run_name="__main__")


def _split() -> socket.socket | None:
    """Fork a template for the children of this process, and use it here. Return its connection there."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() != 0:
        theirs.close()
        _use(lambda: ours)
        return None
    connection = socket.socket(fileno=os.dup2(theirs.detach(), 3, inheritable=False))
    ours.detach()
    os.closerange(4, HIGH + 1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.close(nothing)
    os.setsid()
    return connection


def main() -> int:
    """Import what processes need, then fork for each request, and be the process in the fork."""
    for module in PRELOADED:
        importlib.import_module(module)
    from livecaption.audio.container import decode_container
    from livecaption.decoding.process import WARM_UP

    list(decode_container(io.BytesIO(WARM_UP)))
    assert "Threads:\t1\n" in Path("/proc/self/status").read_text()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    gc.collect()
    gc.freeze()
    connection: socket.socket | None = socket.socket(fileno=int(sys.argv[1]))
    while connection is not None:
        request = _forked(connection)
        if request is None:
            return 0
        is_parent = request.arguments[1] in SCRIPTS or not PARENTS.isdisjoint(request.arguments)
        connection = _split() if is_parent else None
    with socket.socket(fileno=HIGH) as answer:
        try:
            _become(request)
        finally:
            answer.send(struct.pack("<i", os.getpid()))
    _run(request.arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
