"""A TCP connection of a peer: messages in and out, and an end in time."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from aiohttp import WSMsgType

from livecaption.errors import MessageTooBig
from livecaption.live.byte_stream import ByteStream
from livecaption.live.config import SocketLimits
from livecaption.live.dialects.wyoming_events import EventFraming
from tests.support.eventually import eventually
from tests.support.wyoming import HEAD_OF_2_GB, event, stop_reading

CLOSE_S = 0.3


class Ends(NamedTuple):
    stream: ByteStream
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def connected(**limits: float) -> AsyncIterator[Ends]:
    """Connect a peer to a stream."""
    accepted: asyncio.Future[ByteStream] = asyncio.get_running_loop().create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(ByteStream(reader, writer, EventFraming(), SocketLimits(**limits)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    stream = await accepted
    try:
        yield Ends(stream, reader, writer)
    finally:
        writer.transport.abort()
        stream.abort()
        server.close()


async def test_messages_are_whole() -> None:
    async with connected() as (stream, _, writer):
        for part in (b'{"type": ', b'"a"}\n{"type": "b"}\n'):
            writer.write(part)
            await asyncio.sleep(0)
        assert [(await stream.receive()).data for _ in range(2)] == [b'{"type": "a"}\n', b'{"type": "b"}\n']


async def test_a_peer_that_leaves_is_the_last_message() -> None:
    async with connected() as (stream, _, writer):
        assert await stream.answers(1.0)
        writer.close()
        assert (await stream.receive()).type is WSMsgType.CLOSED
        assert await stream.answers(1.0), "it may have ended its own direction only"


async def test_a_peer_that_has_sent_all_may_still_read() -> None:
    async with connected() as (stream, reader, writer):
        assert not stream.is_half_open
        writer.write_eof()
        assert (await stream.receive()).type is WSMsgType.CLOSED
        assert stream.is_half_open
        await stream.send("the answer\n")
        assert await stream.close(1000, "")
        assert await reader.read() == b"the answer\n"
        assert not stream.is_half_open


async def test_a_reset_connection_is_the_last_message_too() -> None:
    async with connected() as (stream, _, writer):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        assert (await stream.receive()).type is WSMsgType.CLOSED
        assert not stream.is_half_open
        assert not await stream.answers(1.0)


async def test_bytes_that_are_no_message_are_refused() -> None:
    async with connected() as (stream, _, writer):
        writer.write(HEAD_OF_2_GB)
        with pytest.raises(MessageTooBig):
            await stream.receive()


async def test_a_peer_that_sends_many_messages_is_read_more_slowly() -> None:
    loop = asyncio.get_running_loop()
    async with connected(messages_per_s=100.0, messages_burst=10.0) as (stream, _, writer):
        writer.write(event("ping") * 40)
        began_s = loop.time()
        for _ in range(40):
            await stream.receive()
        assert loop.time() - began_s >= 0.25


async def test_others_have_the_loop_while_many_messages_are_read() -> None:
    n_turns = 0

    async def count() -> None:
        nonlocal n_turns
        while True:
            n_turns += 1
            await asyncio.sleep(0)

    async with connected(messages_per_s=1e6, messages_burst=1e6) as (stream, _, writer):
        writer.write(event("ping") * 500)
        await stream.receive()
        counting = asyncio.ensure_future(count())
        for _ in range(499):
            await stream.receive()
        counting.cancel()
    assert n_turns >= 5


async def test_the_last_messages_arrive_although_the_peer_still_sends() -> None:
    async with connected(close_timeout_s=CLOSE_S) as (stream, reader, writer):
        writer.write(event("ping") * 1000)
        await stream.send("the last one\n")
        closing = asyncio.ensure_future(stream.close(1000, ""))
        assert await reader.read() == b"the last one\n"
        writer.close()
        assert await closing


async def test_a_close_takes_no_longer_than_its_time_if_the_peer_does_nothing() -> None:
    async with connected(close_timeout_s=CLOSE_S) as (stream, _, _):
        async with asyncio.timeout(20):
            assert not await stream.close(1000, "")


async def test_a_close_while_somebody_reads_awaits_no_answer() -> None:
    async with connected(close_timeout_s=60.0) as (stream, _, _):
        reading = asyncio.ensure_future(stream.receive())
        await eventually(lambda: stream._is_read)
        async with asyncio.timeout(20):
            await stream.close(1001, "")
        assert (await reading).type is WSMsgType.CLOSED


async def test_nothing_is_left_of_a_connection_whose_peer_does_not_read() -> None:
    async with connected(close_timeout_s=CLOSE_S) as (stream, _, writer):
        stop_reading(writer)
        sending = asyncio.ensure_future(stream.send(bytes(50_000_000)))
        await asyncio.sleep(0)
        await stream.close(1000, "")
        async with asyncio.timeout(20):
            await asyncio.wait({sending})
        assert stream._writer.transport.get_write_buffer_size() == 0
