"""Actions that the sandbox forbids. Each is tested in its own process, because the sandbox cannot be left."""

import platform
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.skipif(sys.platform != "linux", reason="the filter is of Linux")]

PREAMBLE = """
import ctypes, os, resource, signal, socket, subprocess, sys, threading, time
from livecaption.decoding import sandbox
file = open("/dev/zero", "rb")
sandbox.enter()
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + program], capture_output=True, text=True, timeout=30, check=False
    )


FORBIDDEN = {
    "open a file": "open('/etc/hostname')",
    "write a file": "os.open('/tmp/livecaption-sandbox', os.O_CREAT | os.O_WRONLY)",
    "list a directory": "os.listdir('/')",
    "delete": "os.unlink('/tmp/livecaption-sandbox')",
    "a socket": "socket.socket()",
    "a pair of sockets": "socket.socketpair()",
    "a program": "subprocess.run(['true'])",
    "a fork": "os.fork()",
    "a thread": "threading.Thread(target=print).start()",
    "a signal to its parent": "os.kill(os.getppid(), 0)",
    "a limit of its parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "to trace": "assert ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0) == 0, ctypes.get_errno()",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_cannot(what: str) -> None:
    done = run(f"{FORBIDDEN[what]}\nprint('done')")
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    # EPERM appears as a thread that cannot start, or as a failed assertion.
    assert any(word in done.stderr for word in ("PermissionError", "can't start new thread", "AssertionError: 1"))


def test_it_can_read_what_is_open_wait_and_end() -> None:
    done = run("time.sleep(0.01); print(len(file.read(10)), len(os.urandom(4)), flush=True); os._exit(7)")
    assert (done.returncode, done.stdout) == (7, "10 4\n"), done.stderr


def test_memory_ends_before_that_of_the_machine() -> None:
    done = run("""
try:
    kept = bytearray(2 * sandbox.MAX_DECODING_BYTES)
except MemoryError:
    print("refused")
print(len(bytearray(sandbox.MAX_DECODING_BYTES // 2)) > 0)
""")
    assert done.stdout == "refused\nTrue\n", done.stderr


def test_a_loop_without_end_is_ended_by_the_system() -> None:
    done = run("""
sandbox.MAX_CPU_S = 1
sandbox.extend_cpu_limit()
while True:
    pass
""")
    assert done.returncode == -signal.SIGXCPU


def test_its_end_leaves_no_core_dump_because_that_would_hold_audio() -> None:
    assert run("print(resource.getrlimit(resource.RLIMIT_CORE))").stdout == "(0, 0)\n"


def test_time_that_is_renewed_does_not_end_it() -> None:
    done = run("""
sandbox.MAX_CPU_S = 1
for _ in range(6):
    sandbox.extend_cpu_limit()
    until = time.process_time() + 0.4
    while time.process_time() < until:
        pass
print("alive")
""")
    assert done.stdout == "alive\n"


def test_a_machine_whose_numbers_are_not_known_has_no_filter() -> None:
    assert platform.machine() in ("x86_64", "aarch64")
    assert run("print(sandbox._filter_system_calls('sparc'))").stdout == "False\n"
