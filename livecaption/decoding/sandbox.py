"""A decoder process gives up its rights here before it receives the first untrusted byte.

Resource limits bound its memory, processor time and files. A filter of system calls (seccomp) allows only the few that
decoding needs. The process can open no file and no socket, start no process, and access no other one. The filter lists
the allowed calls, so that unexpected calls are refused too. A refused call fails with EPERM; the process goes on.

Other systems than Linux, and processors that are not listed here, have only the resource limits.
"""

import ctypes
import errno
import logging
import os
import platform
import sys
from math import ceil

if sys.platform != "win32":
    import resource

MAX_DECODING_BYTES = 256 * 2**20
"""Address space beyond that of the ready process. FFmpeg needs some MB; a header that asks for more is not genuine."""
MAX_CPU_S = 10
"""Processor time between two messages (see `extend_cpu_limit`). Half a second of audio takes milliseconds."""
MAX_OPEN_FILES = 16
"""Descriptors that may be open. The process has fewer and opens no more."""

logger = logging.getLogger(__name__)

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1
_SECCOMP_RET_ALLOW = 0x7FFF0000
_SECCOMP_RET_EPERM = 0x00050000 | errno.EPERM
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_FIRST_ARGUMENT = 0, 4, 16  # struct seccomp_data, linux/seccomp.h

_MACHINES = ("x86_64", "aarch64")
_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_ALLOWED: dict[str, tuple[int, ...]] = {
    # Reading and writing open descriptors.
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "fcntl": (72, 25),
    # Memory.
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "brk": (12, 214),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    # Time, and waiting.
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "ppoll": (271, 73),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "poll": (7,),
    # Its own signals, figures and end.
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "sched_getaffinity": (204, 123),
    "getrandom": (318, 278),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""The numbers of each system call on `_MACHINES` (asm/unistd.h). The second machine has no `poll`."""
_PRLIMIT64, _TGKILL = (302, 261), (234, 131)
"""These calls are allowed only for this process, which is their first argument."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def enter() -> None:
    """Give up all rights that decoding does not need, for all threads and for good. All imports must be done."""
    limit_resources()
    if sys.platform == "win32":
        return
    if not _filter_system_calls(platform.machine()):
        logger.warning("no filter of system calls on this system: decoders of containers have resource limits only")
    forbid_writing_files()  # after the warning, because stderr may be a file


def limit_resources() -> None:
    """Bound memory, descriptors, and the processor time until the next `extend_cpu_limit`."""
    if sys.platform == "win32":
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the audio
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    if sys.platform == "linux":  # macOS enforces no limit of this kind
        with open("/proc/self/statm", "rb") as file:
            used_bytes = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used_bytes + MAX_DECODING_BYTES,) * 2)
    extend_cpu_limit()


def forbid_writing_files() -> None:
    """Let no file grow any more."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def extend_cpu_limit() -> None:
    """Allow `MAX_CPU_S` of processor time from now on. A process that takes more hangs, and the system ends it."""
    if sys.platform != "win32":
        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit_s = ceil(usage.ru_utime + usage.ru_stime) + MAX_CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _filter_system_calls(machine: str) -> bool:
    """Install the filter, and return whether that succeeded."""
    if sys.platform != "linux" or machine not in _MACHINES:
        return False
    code = _program(machine)
    instructions = (_Instruction * len(code))(*(_Instruction(*each) for each in code))
    program = _Program(len(code), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    failed = libc.syscall(
        _SECCOMP[machine], _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program)
    )
    return not failed


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    """Build the filter in classic BPF (linux/filter.h). An instruction is (code, jump true, jump false, value)."""
    allow, refuse = (_RETURN, 0, 0, _SECCOMP_RET_ALLOW), (_RETURN, 0, 0, _SECCOMP_RET_EPERM)
    program = [
        (_LOAD_WORD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, _AUDIT_ARCHITECTURE[machine]),
        refuse,  # another architecture has other numbers
        (_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
    ]
    column = _MACHINES.index(machine)
    for numbers in _ALLOWED.values():
        if column < len(numbers):
            program += [(_JUMP_IF_EQUAL, 0, 1, numbers[column]), allow]
    # libc reads the process's own limits with pid 0; `abort` signals the process's own pid.
    for number, itself in ((_PRLIMIT64[column], 0), (_TGKILL[column], os.getpid())):
        program += [
            (_JUMP_IF_EQUAL, 0, 4, number),
            (_LOAD_WORD, 0, 0, _OFFSET_FIRST_ARGUMENT),
            (_JUMP_IF_EQUAL, 0, 1, itself),
            allow,
            refuse,
        ]
    return [*program, refuse]
