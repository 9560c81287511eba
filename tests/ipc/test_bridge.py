"""Messages cross between a real pipe and the event loop."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
import psutil
import pytest

from livecaption.ipc.bridge import PipeBridge
from livecaption.ipc.messages import GarbledMessage, Heartbeat, LoadFailed, Message, Stop, Transcribe, decode, encode
from livecaption.recognition import Window
from tests.support.eventually import eventually


class Ends:
    """Make a bridge on one end of a pipe, whose other end the test holds."""

    def __init__(self) -> None:
        ours, self.theirs = Pipe(duplex=True)
        self.messages: list[Message] = []
        self.closed: asyncio.Future[GarbledMessage | None] = asyncio.get_running_loop().create_future()
        self.bridge = PipeBridge(ours, self._receive, self.closed.set_result)

    def _receive(self, message: Message) -> None:
        assert not self.closed.done(), "a message after the end"
        self.messages.append(message)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    before = psutil.Process().num_fds(), threading.active_count()
    ends = Ends()
    yield ends
    if not ends.theirs.closed:
        ends.theirs.close()
    # Once the other side has closed, both threads end, and the descriptor is closed.
    await eventually(lambda: (psutil.Process().num_fds(), threading.active_count()) == before)


def receive(connection: Connection) -> Message:
    assert connection.poll(10)
    return decode(connection.recv_bytes())


async def test_messages_arrive_in_the_loop_in_order_and_the_end_comes_last(ends: Ends) -> None:
    sent = [LoadFailed(str(n)) for n in range(100)]
    for message in sent:
        ends.theirs.send_bytes(encode(message))
    ends.theirs.close()
    assert await ends.closed is None
    assert ends.messages == sent


async def test_messages_sent_arrive_in_order(ends: Ends) -> None:
    for message in (Stop(), LoadFailed("a"), Heartbeat()):
        ends.bridge.send(message)
    assert [receive(ends.theirs) for _ in range(3)] == [Stop(), LoadFailed("a"), Heartbeat()]


async def test_sending_never_waits_for_the_other_side(ends: Ends) -> None:
    """A batch of audio is larger than the buffer of a pipe, and a stopped worker does not read."""
    batch = Transcribe(1, 1.0, tuple(Window(np.zeros(480_000, np.float32)) for _ in range(8)))
    async with asyncio.timeout(1.0):
        for _ in range(3):
            ends.bridge.send(batch)
            await asyncio.sleep(0)
    message = receive(ends.theirs)
    assert isinstance(message, Transcribe)
    assert len(message.windows) == 8


async def test_a_message_to_a_closed_pipe_is_dropped(ends: Ends) -> None:
    ends.theirs.close()
    assert await ends.closed is None
    ends.bridge.send(Stop())


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\5hello",  # a frame without a message
        b"\0\0\0\0",  # an empty frame
        b"\x7f\xff\xff\xff",  # the length of a frame of 2 GB
        b"\xff\xff\xff\xff\0\0\1\0\0\0\0\0",  # the length of a frame of a terabyte
        b"\xff\xff\xff\xfehello",  # a negative length
    ],
)
async def test_rubbish_is_reported_and_nothing_after_it_is_read(data: bytes, ends: Ends) -> None:
    """Row 51 of the fault matrix: raw bytes from a broken worker."""
    ends.theirs.send_bytes(encode(Heartbeat()))
    os.write(ends.theirs.fileno(), data)
    garbled = await asyncio.wait_for(ends.closed, 10)
    assert isinstance(garbled, GarbledMessage)
    assert ends.messages == [Heartbeat()]


async def test_a_frame_that_is_cut_off_is_an_end(ends: Ends) -> None:
    os.write(ends.theirs.fileno(), b"\0\0\1\0half of it")
    ends.theirs.close()
    assert await ends.closed is None
    assert ends.messages == []


def test_a_loop_that_is_gone_does_not_disturb_the_threads() -> None:
    """The server ends its loop before its worker, in a forced stop."""
    kept: list[Connection] = []

    async def bridge() -> None:
        ours, theirs = Pipe(duplex=True)
        PipeBridge(ours, lambda _: None, lambda _: None)
        kept.append(theirs)

    asyncio.run(bridge())
    [theirs] = kept
    theirs.send_bytes(encode(Heartbeat()))
    theirs.close()
    for thread in threading.enumerate():
        if thread.name.startswith("pipe-"):
            thread.join(10)
            assert not thread.is_alive()
