"""One WebSocket of a peer that may do anything: others have the loop, and its end comes in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import WSMessage, WSMsgType, web

from livecaption.errors import MessageTooBig
from livecaption.evaluation import peers
from livecaption.evaluation.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawPeer, close_codes, frame
from livecaption.live.allowance import BYTES_OF_A_MESSAGE
from livecaption.live.config import SocketLimits
from livecaption.live.turn import MAX_STEPS
from livecaption.live.websocket import WebSocket
from tests.support.eventually import eventually
from tests.support.peers import raw_peer
from tests.support.websocket_server import websocket_server

MAX_MESSAGE_BYTES = 100_000


@dataclass
class Served:
    """A server whose socket reads until the peer has left, or `then` is done."""

    url: str = ""
    messages: list[WSMessage] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None


async def read(socket: WebSocket, served: Served) -> None:
    while True:
        message = await socket.receive()
        served.messages.append(message)
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return


@asynccontextmanager
async def server(then: Callable[[WebSocket, Served], Awaitable[None]] = read, **limits: float) -> AsyncIterator[Served]:
    served = Served()

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = WebSocket(request, MAX_MESSAGE_BYTES, SocketLimits(**limits))
        await socket.open()
        try:
            await then(socket, served)
        except Exception as error:
            served.error = error
        await socket.close(1000, "the end")
        served.ended.set()
        return socket.response

    async with websocket_server(stream) as served.url:
        yield served


async def test_messages_come_in_order_and_pings_between_them_are_answered() -> None:
    async with server() as served, raw_peer(served.url) as peer:
        await peer.send_raw(frame(TEXT, b"one") + frame(PING, b"p") + frame(PONG) + frame(BINARY, b"two"))
        await eventually(lambda: len(served.messages) == 2)
        assert [message.data for message in served.messages] == ["one", b"two"]
        assert await peer.receive() == bytes([128 | PONG, 1]) + b"p"


@pytest.mark.parametrize(
    "flood",
    [frame(BINARY), frame(BINARY, b"x"), frame(TEXT, b"x"), frame(PING), frame(PONG)],
    ids=["empty", "one byte", "text", "ping", "pong"],
)
async def test_a_flood_of_frames_leaves_the_loop_to_others(flood: bytes) -> None:
    """A limited number of frames is taken between two turns of somebody else, and not all that have come."""
    taken: list[int] = []
    n_frames = 5000

    async def count(socket: WebSocket, served: Served) -> None:
        receive, n_taken = socket.response.receive, 0

        async def counted() -> WSMessage:
            nonlocal n_taken
            n_taken += 1
            return await receive()

        socket.response.receive = counted
        reading = asyncio.ensure_future(read(socket, served))
        while not reading.done():
            before = n_taken
            await asyncio.sleep(0)
            taken.append(n_taken - before)

    async with (
        server(count, messages_burst=1e9) as served,
        peers.raw_peer(served.url, receive_buffer_bytes=2**20) as peer,
    ):
        sending = asyncio.ensure_future(peer.send_raw(flood * n_frames + frame(CLOSE)))
        await asyncio.wait_for(served.ended.wait(), 20)
        sending.cancel()
    assert sum(taken) > n_frames
    assert max(taken) <= MAX_STEPS + 1


async def test_messages_beyond_the_allowance_are_read_later_and_not_lost() -> None:
    async with server(messages_burst=10.0, messages_per_s=100.0) as served, raw_peer(served.url) as peer:
        began_s = time.monotonic()
        await peer.send_raw(frame(BINARY, b"x") * 40)
        await eventually(lambda: len(served.messages) == 40)
        assert time.monotonic() - began_s >= 0.29


async def test_a_large_message_counts_as_several() -> None:
    large = bytes(BYTES_OF_A_MESSAGE)
    async with server(messages_burst=10.0, messages_per_s=100.0) as served, raw_peer(served.url) as peer:
        began_s = time.monotonic()
        await peer.send_raw(frame(BINARY, large) * 20)
        await eventually(lambda: len(served.messages) == 20)
        assert time.monotonic() - began_s >= 0.27


async def test_pings_that_meet_a_reset_are_the_end_of_the_connection_and_no_fault() -> None:
    """An answer that cannot be sent is no fault; the caller gets the end of the connection."""
    async with server() as served:
        async with raw_peer(served.url) as peer:
            await peer.send_raw(frame(PING) * 3)
            peer.end_by_reset()
        await asyncio.wait_for(served.ended.wait(), 5)
    assert served.error is None
    (last,) = served.messages
    assert last.type in (WSMsgType.CLOSED, WSMsgType.ERROR)


@pytest.mark.parametrize(("sent", "answered"), [(frame(CLOSE, b"\x03\xe8"), [1000]), (frame(CLOSE), [1000])])
async def test_a_close_of_the_peer_is_answered_and_ends_the_connection(sent: bytes, answered: list[int]) -> None:
    async with server() as served, raw_peer(served.url) as peer:
        await peer.send_raw(sent)
        assert close_codes(await peer.receive_all()) == answered
        await served.ended.wait()
    assert served.messages[-1].type is WSMsgType.CLOSE


async def close_at_once(socket: WebSocket, served: Served) -> None:
    served.error = None if await socket.close(1001, "bye") else TimeoutError()


async def test_an_answered_close_takes_no_time_though_much_is_still_on_its_way() -> None:
    async with server(close_at_once) as served, raw_peer(served.url) as peer:
        await peer.send_raw(frame(BINARY, b"x" * 1000) * 20 + frame(CLOSE, b"\x03\xe9"))
        assert close_codes(await peer.receive_all()) == [1001]
        await served.ended.wait()
    assert served.error is None


async def test_a_peer_that_floods_does_not_delay_the_close() -> None:
    async def flood(peer: RawPeer) -> None:
        while True:
            await peer.send_raw(frame(BINARY, b"x") * 1000)

    async with server(close_at_once, close_timeout_s=0.3) as served, raw_peer(served.url) as peer:
        flooding = asyncio.ensure_future(flood(peer))
        began_s = time.monotonic()
        await asyncio.wait_for(served.ended.wait(), 10)
        assert time.monotonic() - began_s < 0.3 + 1.0
        flooding.cancel()
        await asyncio.wait({flooding})
    assert isinstance(served.error, TimeoutError)


async def test_a_message_that_is_too_large_is_an_error_with_its_code() -> None:
    async with server() as served, raw_peer(served.url) as peer:
        await peer.send_raw(frame(BINARY, bytes(60_000), is_last=False) + frame(CONTINUATION, bytes(60_000)))
        await asyncio.wait_for(served.ended.wait(), 5)
    assert isinstance(served.error, MessageTooBig)
    assert served.messages == []


async def test_a_peer_that_is_not_read_for_a_while_is_not_taken_for_dead() -> None:
    """Its pong stands behind what it has sent; a container may wait for its decoder for long."""
    reading = asyncio.Event()

    async def wait_first(socket: WebSocket, served: Served) -> None:
        await reading.wait()
        await read(socket, served)

    async with server(wait_first, heartbeat_s=0.2) as served, raw_peer(served.url) as peer:
        await peer.send_raw(frame(BINARY, b"still here"))
        await asyncio.sleep(1.0)  # three times as long as a peer may be silent that is read
        reading.set()
        await eventually(lambda: bool(served.messages))
        assert served.messages[0].data == b"still here"
        await asyncio.wait_for(served.ended.wait(), 5)  # from now on it is
    assert served.messages[-1].type in (WSMsgType.CLOSED, WSMsgType.ERROR)
