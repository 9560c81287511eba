"""Datagrams to another process, over real sockets: none is lost because many come at once."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from livecaption.ipc import datagrams
from tests.support.datagrams import fill


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.setblocking(False)
        yield receiver


async def test_a_datagram_waits_for_a_full_socket(receiver: socket.socket, tmp_path: Path) -> None:
    n_held = await fill(tmp_path / "socket", b"earlier")
    sending = asyncio.ensure_future(datagrams.send(tmp_path / "socket", b"late", 60))
    await asyncio.sleep(0)
    assert [receiver.recv(100) for _ in range(n_held)] == [b"earlier"] * n_held
    await sending
    assert receiver.recv(100) == b"late"


async def test_a_process_that_is_gone_differs_from_one_that_hangs(receiver: socket.socket, tmp_path: Path) -> None:
    await fill(tmp_path / "socket", b"earlier")
    with pytest.raises(TimeoutError):
        await datagrams.send(tmp_path / "socket", b"late", 0.01)
    receiver.close()
    for path in (tmp_path / "socket", tmp_path / "never"):
        with pytest.raises(OSError, match=r"refused|No such file"):
            await datagrams.send(path, b"late", 60)


async def test_a_connection_that_is_closed_meanwhile_is_still_the_one_that_is_sent(
    receiver: socket.socket, tmp_path: Path
) -> None:
    n_held = await fill(tmp_path / "socket", b"earlier")
    ours, theirs = socket.socketpair()
    sending = asyncio.ensure_future(datagrams.send(tmp_path / "socket", b"take this", 60, [theirs]))
    await asyncio.sleep(0)
    theirs.close()
    other = socket.socket()  # gets the number of the descriptor
    for _ in range(n_held):
        receiver.recv(100)
    await sending
    message, [descriptor], *_ = socket.recv_fds(receiver, 100, 1)
    os.write(descriptor, b"hello")
    assert (message, ours.recv(100)) == (b"take this", b"hello")
    os.close(descriptor)
    other.close()
    ours.close()
