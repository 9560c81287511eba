"""Messages to one peer are sent in order. Each message and the close have a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from livecaption.live.config import SocketLimits
from livecaption.live.outbox import MAX_WAITING_CHARACTERS, Outbox
from livecaption.live.websocket import WebSocket
from tests.support.eventually import eventually
from tests.support.peers import close_codes, raw_peer
from tests.support.websocket_server import websocket_server

Script = Callable[[Outbox, asyncio.Transport], Awaitable[None]]
MESSAGE = "m" * 16_384


@dataclass(frozen=True)
class Served:
    """A server; `done` once its script is through and the socket closed."""

    url: str
    done: asyncio.Future[None]


@asynccontextmanager
async def server_of(script: Script, **limits: float) -> AsyncIterator[Served]:
    """A server whose socket has an outbox that is used by a script and then closed with 1001."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = WebSocket(request, 4096, SocketLimits(**limits))
        await socket.open()
        assert request.transport is not None
        outbox = Outbox(socket)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(outbox.run())
                await script(outbox, request.transport)
                outbox.finish()
            await outbox.close(1001, "the end")
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)
        return socket.response

    async with websocket_server(stream) as url:
        yield Served(url, done)
        await done


async def fill(outbox: Outbox) -> None:
    """Offer until nothing goes out: the peer's buffer, the kernel's and the transport's are full."""
    while outbox.waiting_characters < MAX_WAITING_CHARACTERS // 2:
        assert outbox.offer(MESSAGE)
        await asyncio.sleep(0)


async def cut_off_after_s(outbox: Outbox) -> float:
    clock = asyncio.get_running_loop().time
    began_s = clock()
    await eventually(lambda: outbox.aborted)
    return clock() - began_s


async def test_messages_arrive_in_order_and_then_the_close() -> None:
    async def script(outbox: Outbox, _: asyncio.Transport) -> None:
        assert all(outbox.offer(str(number)) for number in range(100))

    async with server_of(script) as server, aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"{server.url}v1/stream")
        assert [message.data async for message in socket] == [str(number) for number in range(100)]
        assert socket.close_code == 1001


async def test_a_reader_that_falls_too_far_behind_is_cut_off() -> None:
    """The messages that wait for it are bounded."""
    waited = []

    async def script(outbox: Outbox, _: asyncio.Transport) -> None:
        while outbox.offer(MESSAGE):
            waited.append(outbox.waiting_characters)
            await asyncio.sleep(0)
        assert outbox.aborted
        assert not outbox.offer("more")

    async with server_of(script) as server, raw_peer(server.url):
        await server.done
    assert max(waited) <= MAX_WAITING_CHARACTERS


async def test_a_reader_that_does_not_read_is_cut_off_after_the_send_time_out() -> None:
    async def script(outbox: Outbox, _: asyncio.Transport) -> None:
        await fill(outbox)
        assert await cut_off_after_s(outbox) < 0.3 + 0.5

    async with server_of(script, send_timeout_s=0.3) as server, raw_peer(server.url):
        await server.done


async def test_shorter_time_outs_cut_a_send_that_is_on_its_way_too() -> None:
    """Otherwise, a reader that stopped reading just before a stop would take the service's 5 s."""

    async def script(outbox: Outbox, _: asyncio.Transport) -> None:
        await fill(outbox)
        outbox.shorten_timeouts()
        assert 0.1 < await cut_off_after_s(outbox) < 0.2 + 0.5

    async with server_of(script, close_timeout_s=0.2) as server, raw_peer(server.url):
        await server.done


async def test_a_peer_that_never_answers_the_close_has_it_and_is_disconnected_after_the_time_out() -> None:
    async def script(outbox: Outbox, _: asyncio.Transport) -> None:
        outbox.offer("last words")

    async with server_of(script, close_timeout_s=0.3) as server, raw_peer(server.url) as peer:
        clock = asyncio.get_running_loop().time
        began_s = clock()
        received = await peer.receive_all()
        assert 0.2 < clock() - began_s < 0.3 + 0.5
        assert b"last words" in received
        assert close_codes(received) == [1001]


async def test_a_close_to_a_peer_that_does_not_read_is_cut_short_and_leaves_no_connection() -> None:
    """aiohttp's own time-out begins once the Close is sent, which it never is; its transport waits for the buffer."""

    async def script(outbox: Outbox, transport: asyncio.Transport) -> None:
        clock = asyncio.get_running_loop().time
        await fill(outbox)
        began_s = clock()
        await outbox.close(1001, "the end")
        assert clock() - began_s < 0.3 + 0.5
        await asyncio.sleep(0)
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        outbox.discard()

    async with server_of(script, close_timeout_s=0.3) as server, raw_peer(server.url):
        await server.done


async def test_a_peer_that_has_left_costs_no_time_at_the_close() -> None:
    """The close handshake would wait for it."""

    async def script(outbox: Outbox, _: asyncio.Transport) -> None:
        outbox.discard()
        assert not outbox.offer("too late")

    clock = asyncio.get_running_loop().time
    async with server_of(script) as server, raw_peer(server.url):
        began_s = clock()
        await server.done
    assert clock() - began_s < 0.5
