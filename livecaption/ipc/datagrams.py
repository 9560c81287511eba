"""Datagrams between processes, by Unix sockets. A full one is waited for: Linux lets 10 datagrams wait in it."""

import array
import asyncio
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path


def receiver(path: Path) -> socket.socket:
    """Return a socket that receives what is sent to this path.

    Raises:
        OSError: it cannot be made.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    return bound


async def send(
    path: Path, message: bytes, within_s: float, connections: Sequence[socket.socket | TransportSocket] = ()
) -> None:
    """Send a datagram, and with it connections. The process that receives it shares them with this one.

    Raises:
        TimeoutError: the socket stays full for this time. Its process hangs.
        OSError: its process is gone, or a connection is closed.
    """
    with ExitStack() as stack:
        # A connection may be closed meanwhile, and another one may get the number of its descriptor.
        kept = [stack.enter_context(connection.dup()).fileno() for connection in connections]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", kept))] if kept else []
        sender = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sender.setblocking(False)
        sender.connect(str(path))
        async with asyncio.timeout(within_s):
            while True:
                with suppress(BlockingIOError):
                    sender.sendmsg([message], rights)
                    return
                await _writable(sender)


async def _writable(sender: socket.socket) -> None:
    loop, is_writable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(sender, is_writable.set)
    try:
        await is_writable.wait()
    finally:
        loop.remove_writer(sender)
