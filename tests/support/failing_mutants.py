"""A process that decodes mutants and fails: it dies at seed 3, and hangs at seed 5."""

import os
import signal
import socket
import time
from collections.abc import Mapping


def run(parent: socket.socket, containers: Mapping[str, bytes], seeds: range) -> None:
    for seed in seeds:
        if seed == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        if seed == 5:
            time.sleep(100)
        os.write(parent.fileno(), b"end\n")
