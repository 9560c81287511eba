"""Opening a stream: options, refusals, and a whole stream in one call."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from livecaption.client import (
    Endpointing,
    RoomEntry,
    StreamClosed,
    StreamRefused,
    StreamSettings,
    connect,
    transcribe,
)
from livecaption.events import Ack, Event, Partial, Ready
from tests.support.scripted_peer import END, READY, ServerOf


async def test_start_carries_every_option_and_the_token(server_of: ServerOf) -> None:
    started = asyncio.get_running_loop().create_future()

    async def script(socket: web.WebSocketResponse, start: dict[str, Any]) -> None:
        started.set_result((socket._req.headers["Authorization"], socket._req.query_string, start))
        await socket.send_json(READY)
        await socket.receive()

    url = await server_of(script)
    settings = StreamSettings(
        encoding="mulaw",
        sample_rate=8000,
        channels=2,
        channel_mode="separate",
        language=("en", "de"),
        task="translate",
        translate=("de", "fr"),
        partials=False,
        words=True,
        hotwords=("Ada",),
        prompt="Names:",
        endpointing=Endpointing(silence_ms=300),
        title="Talk",
        private=True,
        keep=False,
        room=RoomEntry("pycon", "x" * 20, True, "r0"),
        speakers=3,
    )
    assert {each.name for each in fields(settings) if getattr(settings, each.name) == each.default} == set()
    async with connect(url, settings, token="secret") as stream:
        assert stream.ready == Ready("s1", "r", 1, "m", "en", 0)
    sent = {
        "encoding": "mulaw",
        "sample_rate": 8000,
        "channels": 2,
        "channel_mode": "separate",
        "language": ["en", "de"],
        "task": "translate",
        "translate": ["de", "fr"],
        "partials": False,
        "words": True,
        "hotwords": ["Ada"],
        "prompt": "Names:",
        "endpointing": {"silence_ms": 300},
        "title": "Talk",
        "private": True,
        "keep": False,
        "speakers": 3,
        "room": {"name": "pycon", "secret": "x" * 20, "take_over": True, "former": "r0"},
    }
    assert await started == ("Bearer secret", "room=pycon", {"type": "start"} | sent)


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
        async with connect(await server_of(script), StreamSettings(task="sing")):
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


@pytest.mark.parametrize(("status", "body"), [(404, "<html>"), (500, "[]"), (200, "welcome")])
async def test_another_kind_of_server_is_refused_with_its_status(status: int, body: str) -> None:
    server = await refusing(status, text=body)
    try:
        with pytest.raises(StreamRefused) as refused:
            async with connect(str(server.make_url("/"))):
                pass
    finally:
        await server.close()
    assert (refused.value.http_status, refused.value.code, refused.value.retry_after_s) == (status, "", None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize(
    ("named", "retry_after_s"), [(None, 2.0), ("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 2.0), ("-1", 2.0)]
)
async def test_a_proxy_that_does_not_reach_the_server_names_when_to_try_again(
    status: int, named: str | None, retry_after_s: float
) -> None:
    server = await refusing(status, text="<html>Bad Gateway", headers={"Retry-After": named} if named else {})
    try:
        with pytest.raises(StreamRefused, match=f"cannot reach .*: a proxy answered {status}") as refused:
            async with connect(str(server.make_url("/"))):
                pass
    finally:
        await server.close()
    assert (refused.value.http_status, refused.value.code) == (status, "")
    assert refused.value.retry_after_s == retry_after_s


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
