"""A decoder process that was taken over: it closes all descriptors that would show its end, and goes on."""

import os
import time
from multiprocessing.connection import Connection
from socket import socket


def run(server: socket, file: Connection | None, track: int | None, channel_mode: str, from_stranger: bool) -> None:
    os.closerange(3, 64)
    time.sleep(100)
