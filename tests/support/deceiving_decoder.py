"""A decoder process that was taken over: it closes all that tells of its end, and lives."""

import os
import time
from multiprocessing.connection import Connection
from socket import socket


def run(server: socket, file: Connection | None) -> None:
    os.closerange(3, 64)
    time.sleep(100)
