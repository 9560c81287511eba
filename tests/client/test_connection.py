"""Opening a stream: addresses, options, refusals, and a whole stream in one call."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from typing import Any, get_type_hints

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from livecaption.client import (
    StreamClosed,
    StreamRefused,
    StreamSettings,
    connect,
    stream_url,
    transcribe,
)
from livecaption.events import Ack, Event, Partial, Ready
from tests.support.scripted_peer import END, READY, ServerOf


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host:8000", "http://host:8000/v1/stream"),
        ("https://host/", "https://host/v1/stream"),
        ("ws://[::1]:1/v1/stream", "ws://[::1]:1/v1/stream"),
        ("wss://host/captions/?key=1", "wss://host/captions/v1/stream?key=1"),
    ],
)
def test_stream_url_finds_the_endpoint_of_a_server(url: str, expected: str) -> None:
    assert stream_url(url) == expected


@pytest.mark.parametrize("url", ["", "host:8000", "ftp://host", "http://", "/v1/stream"])
def test_stream_url_refuses_what_is_no_server(url: str) -> None:
    with pytest.raises(ValueError, match="is not a server's address"):
        stream_url(url)


async def test_start_carries_every_option_and_the_token(server_of: ServerOf) -> None:
    started = asyncio.get_running_loop().create_future()

    async def script(socket: web.WebSocketResponse, start: dict[str, Any]) -> None:
        started.set_result((socket._req.headers["Authorization"], socket._req.query_string, start))
        await socket.send_json(READY)
        await socket.receive()

    url = await server_of(script)
    options: dict[str, Any] = {
        "encoding": "mulaw",
        "sample_rate": 8000,
        "channels": 2,
        "channel_mode": "separate",
        "language": "en",
        "task": "translate",
        "partials": False,
        "words": True,
        "prompt": "Names:",
        "hotwords": ("Ada",),
        "endpointing": {"silence_ms": 300},
        "title": "Talk",
        "translate": ["de", "fr"],
    }
    room = {"room": "pycon", "room_secret": "x" * 20, "take_over": True, "former": "r0"}
    async with connect(url, **options, **room, token="secret") as stream:
        assert stream.ready == Ready("s1", "r", 1, "m", "en", 0)
    entered = {"room": {"name": "pycon", "secret": "x" * 20, "take_over": True, "former": "r0"}}
    assert await started == (
        "Bearer secret",
        "room=pycon",
        {"type": "start"} | options | {"hotwords": ["Ada"]} | entered,
    )


def test_settings_that_are_passed_on_are_those_that_connect_takes() -> None:
    taken = [
        (parameter.name, parameter.annotation)
        for parameter in inspect.signature(connect).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert list(get_type_hints(StreamSettings).items()) == taken


async def refusing(status: int, **answer: Any) -> TestServer:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, **answer)

    application = web.Application()
    application.router.add_get("/v1/stream", refuse)
    server = TestServer(application)
    await server.start_server()
    return server


async def test_a_rejected_start_is_an_error_of_connect(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json({"type": "error", "code": "invalid_message", "message": "no such task", "fatal": True})

    with pytest.raises(StreamClosed, match="no such task") as closed:
        async with connect(await server_of(script), task="sing"):
            pass
    assert closed.value.error is not None


async def test_a_refusal_before_the_upgrade_carries_the_servers_code_and_retry_time() -> None:
    body = {"code": "overloaded", "message": "all 4 streams are taken", "retry_after_s": 5.0}
    server = await refusing(503, text=json.dumps(body), content_type="application/json")
    try:
        with pytest.raises(StreamRefused, match="all 4 streams are taken") as refused:
            async with connect(str(server.make_url("/"))):
                pass
    finally:
        await server.close()
    assert (refused.value.http_status, refused.value.code, refused.value.retry_after_s) == (503, "overloaded", 5.0)


@pytest.mark.parametrize(("status", "body"), [(404, "<html>"), (502, "[]"), (200, "welcome")])
async def test_another_kind_of_server_is_refused_with_its_status(status: int, body: str) -> None:
    server = await refusing(status, text=body)
    try:
        with pytest.raises(StreamRefused) as refused:
            async with connect(str(server.make_url("/"))):
                pass
    finally:
        await server.close()
    assert (refused.value.http_status, refused.value.code, refused.value.retry_after_s) == (status, "", None)


async def test_nobody_listening_is_a_connection_error_that_names_the_address(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectionError, match=f"cannot reach http://127.0.0.1:{unused_tcp_port}"):
        async with connect(f"http://127.0.0.1:{unused_tcp_port}"):
            pass


async def test_leaving_the_block_early_closes_the_connection(server_of: ServerOf) -> None:
    closed = asyncio.Event()

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.receive()
        closed.set()

    async with connect(await server_of(script)):
        pass
    await closed.wait()


async def echo_seconds(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
    """Acknowledge each audio message with its length; end at `stop`."""
    await socket.send_json(READY)
    seq = 1
    async for message in socket:
        seq += 1
        if message.type is WSMsgType.TEXT:
            await socket.send_json(END | {"seq": seq})
            return
        await socket.send_json({"type": "ack", "received_ms": len(message.data), "seq": seq})


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_transcribe_sends_everything_and_receives_everything(server_of: ServerOf) -> None:
    received: list[Event] = []
    end = await transcribe(await server_of(echo_seconds), chunks_of(b"1", b"22"), received.append)
    assert received == [Ready("s1", "r", 1, "m", "en", 0), Ack(1), Ack(2), end]


async def test_transcribe_ends_with_a_server_that_drains_while_there_is_more_to_send(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.send_json(END | {"seq": 2, "reason": "draining"})

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65_536)

    end = await transcribe(await server_of(script), endless(), lambda event: None)
    assert end.reason == "draining"


async def test_transcribe_fails_with_the_error_of_its_audio(server_of: ServerOf) -> None:
    """An error of reading the audio reaches the caller as it is, and not in an exception group."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"12"
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        await transcribe(await server_of(echo_seconds), broken(), lambda event: None)


async def test_transcribe_fails_with_the_error_of_its_receiver(server_of: ServerOf) -> None:
    def receive(event: Event) -> None:
        assert not isinstance(event, Partial | Ack), "no caption expected"

    with pytest.raises(AssertionError, match="no caption expected"):
        await transcribe(await server_of(echo_seconds), chunks_of(b"1", b"22"), receive)
