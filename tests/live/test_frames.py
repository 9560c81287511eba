"""The frames of RFC 6455, by cases of the Autobahn suite. Its own program needs Python 2 and is not run here."""

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from livecaption.evaluation import peers
from livecaption.evaluation.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_codes, frame
from livecaption.live.config import SocketLimits
from livecaption.live.websocket import WebSocket
from tests.support.websocket_server import websocket_server

COMPRESSED, RESERVED = 0x40, 0x20
"""RSV1, which a compressed message sets, and RSV2, which none sets. The sum with an opcode is the first byte."""

CLOSE_1000 = frame(CLOSE, b"\x03\xe8")


@asynccontextmanager
async def server(received: list[str | bytes]) -> AsyncIterator[str]:
    """Keep the messages of one peer, and close behind the last one."""

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = WebSocket(request, max_message_bytes=100_000, limits=SocketLimits())
        await socket.open()
        while (message := await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            received.append(message.data)
        await socket.close(1000, "")
        return socket.response

    async with websocket_server(stream) as url:
        yield url


async def answer_to(frames: bytes) -> tuple[list[str | bytes], list[int]]:
    """Return the messages that were received, and the code of the server's Close."""
    received: list[str | bytes] = []
    async with server(received) as url, peers.raw_peer(url) as peer:
        await peer.send_raw(frames)
        codes = close_codes(await peer.receive_all())
    return received, codes


@pytest.mark.parametrize(
    ("frames", "messages"),
    [
        pytest.param(frame(TEXT) + frame(BINARY), ["", b""], id="empty"),
        pytest.param(frame(BINARY, bytes(125)) + frame(BINARY, bytes(65_536)), [bytes(125), bytes(65_536)], id="sizes"),
        pytest.param(frame(PING, bytes(125)) + frame(PONG, b"unasked") + frame(TEXT, b"a"), ["a"], id="controls"),
        pytest.param(
            frame(TEXT, b"a", is_last=False)
            + frame(PING)
            + frame(CONTINUATION, is_last=False)
            + frame(CONTINUATION, b"b"),
            ["ab"],
            id="fragments with a ping between",
        ),
        pytest.param(
            frame(TEXT, "é".encode()[:1], is_last=False) + frame(CONTINUATION, "é".encode()[1:]),
            ["é"],
            id="a character in two fragments",
        ),
    ],
)
async def test_whole_messages_are_received(frames: bytes, messages: list[str | bytes]) -> None:
    """Row 76 of the fault matrix."""
    assert await answer_to(frames + CLOSE_1000) == (messages, [1000])


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(frame(TEXT | RESERVED), 1002, id="reserved bit"),
        pytest.param(frame(3), 1002, id="reserved opcode"),
        pytest.param(frame(11), 1002, id="reserved control opcode"),
        pytest.param(frame(PING, bytes(126)), 1002, id="long ping"),
        pytest.param(frame(PING, is_last=False), 1002, id="fragment of a ping"),
        pytest.param(frame(CONTINUATION, b"a"), 1002, id="continuation of nothing"),
        pytest.param(frame(TEXT, b"a", is_last=False) + frame(TEXT, b"b"), 1002, id="message within a message"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="text that is not UTF-8"),
        pytest.param(frame(TEXT, b"\xc3", is_last=False) + frame(CONTINUATION, b"a"), 1007, id="the same in fragments"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="half a close code"),
        pytest.param(frame(CLOSE, (999).to_bytes(2, "big")), 1002, id="close code below 1000"),
        pytest.param(frame(CLOSE, (1005).to_bytes(2, "big")), 1002, id="close code that is never sent"),
        pytest.param(frame(CLOSE, b"\x03\xe8\xff"), 1007, id="close reason that is not UTF-8"),
    ],
)
async def test_a_frame_that_breaks_the_standard_ends_the_connection_with_the_code_for_it(
    frames: bytes, code: int
) -> None:
    """Row 76: no later message is received."""
    assert await answer_to(frames + frame(TEXT, b"later")) == ([], [code])


async def test_compression_is_not_negotiated_and_a_compressed_message_is_not_inflated() -> None:
    """Row 69 of the fault matrix."""
    async with (
        server([]) as url,
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{url}v1/stream", compress=15) as socket,
    ):
        assert socket.compress == 0
    deflate = zlib.compressobj(wbits=-15)
    bomb = (deflate.compress(bytes(10_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
    assert len(bomb) < 100_000
    assert await answer_to(frame(BINARY | COMPRESSED, bomb)) == ([], [1002])
