"""The client, against a peer that follows a script: what users of `livecaption.client` may rely on."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from livecaption.client import (
    MAX_MESSAGE_BYTES,
    Stream,
    StreamClosed,
    StreamRefused,
    connect,
    parse_event,
    real_time,
    stream_url,
    transcribe,
)
from livecaption.events import Ack, CaptionWord, End, ErrorReport, Event, Final, Gap, Partial, Ready, Status

READY = {"type": "ready", "session": "s1", "resume_token": "r", "protocol": 1, "model": "m", "language": "en"}
READY |= {"received_ms": 0, "seq": 1}
FINAL = {"type": "final", "utterance": 0, "text": "hello", "start_ms": 0, "end_ms": 900, "language": "en"}
FINAL |= {"confidence": 0.5, "latency_ms": 300}
END = {"type": "end", "received_ms": 1000, "utterances": 1, "reason": "stop"}

Script = Callable[[web.WebSocketResponse, dict[str, Any]], Awaitable[None]]
ServerOf = Callable[[Script], Awaitable[str]]


@pytest.fixture
async def server_of() -> AsyncIterator[ServerOf]:
    """Start a server whose `/v1/stream` reads `start`, then does as the script says; its URL."""
    servers = []

    async def start(script: Script) -> str:
        async def stream(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await script(socket, await socket.receive_json())
            await socket.close()
            return socket

        application = web.Application()
        application.router.add_get("/v1/stream", stream)
        servers.append(TestServer(application))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    for server in servers:
        await server.close()


async def refusing(status: int, **answer: Any) -> TestServer:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, **answer)

    application = web.Application()
    application.router.add_get("/v1/stream", refuse)
    server = TestServer(application)
    await server.start_server()
    return server


async def events_of(stream: Stream) -> list[Event]:
    return [event async for event in stream]


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


def test_parse_event_builds_words_and_ignores_fields_of_newer_servers() -> None:
    word = {"word": "hello", "start_ms": 1, "end_ms": 2, "confidence": 0.5}
    event = parse_event(FINAL | {"seq": 4, "color": "red", "words": [word | {"speaker": 1}]})
    assert event == Final(0, "hello", 0, 900, "en", 0.5, 300, (CaptionWord("hello", 1, 2, 0.5),))


def test_parse_event_takes_no_notice_of_a_type_of_a_newer_server() -> None:
    assert parse_event({"type": "applause", "seq": 3}) is None


@pytest.mark.parametrize("fields", [{"type": "ack"}, {"type": "partial", "utterance": 1}, FINAL | {"words": [{}]}])
def test_parse_event_refuses_an_event_without_its_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without"):
        parse_event(fields)


async def test_start_tells_the_server_every_option_and_the_token(server_of: ServerOf) -> None:
    started = asyncio.get_running_loop().create_future()

    async def script(socket: web.WebSocketResponse, start: dict[str, Any]) -> None:
        started.set_result((socket._req.headers["Authorization"], start))  # type: ignore[union-attr]
        await socket.send_json(READY)
        await socket.receive()

    url = await server_of(script)
    options: dict[str, Any] = {
        "encoding": "mulaw",
        "sample_rate": 8000,
        "channels": 2,
        "language": "en",
        "task": "translate",
        "partials": False,
        "words": True,
        "prompt": "Names:",
        "hotwords": ("Ada",),
        "endpointing": {"silence_ms": 300},
        "title": "Talk",
    }
    async with connect(url, **options, token="secret") as stream:
        assert stream.ready == Ready("s1", "r", 1, "m", "en", 0)
    assert await started == ("Bearer secret", {"type": "start"} | options | {"hotwords": ["Ada"]})


async def test_a_stream_yields_every_event_in_order_and_ends_after_end(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        status = {"type": "status", "state": "ready", "partials": "on", "lag_ms": 0}
        unknown = {"type": "applause"}
        error = {"type": "error", "code": "transcription_failed", "message": "sorry", "fatal": False}
        for seq, fields in enumerate([READY, status, unknown, error, FINAL, END], start=1):
            await socket.send_json(fields | {"seq": seq})

    async with connect(await server_of(script)) as stream:
        assert await events_of(stream) == [
            Status("ready", "on", 0),
            ErrorReport("transcription_failed", "sorry", fatal=False),
            Final(0, "hello", 0, 900, "en", 0.5, 300),
            End(1000, 1, "stop"),
        ]
        assert stream.last_seq == 6
        assert await events_of(stream) == []


async def test_long_audio_travels_in_messages_of_at_most_64_kib_and_arrives_whole(server_of: ServerOf) -> None:
    received: list[bytes] = []

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                received.append(message.data)
            else:
                await socket.send_json(END | {"seq": 2})
                return

    audio = bytes(range(256)) * 1000
    async with connect(await server_of(script)) as stream:
        await stream.send_audio(audio)
        await stream.send_audio(b"")
        await stream.stop()
        await events_of(stream)
    assert [len(message) for message in received] == [MAX_MESSAGE_BYTES] * 3 + [256_000 - 3 * MAX_MESSAGE_BYTES]
    assert b"".join(received) == audio


async def test_flush_ping_and_stop_are_the_messages_of_the_protocol(server_of: ServerOf) -> None:
    messages: list[Any] = []

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        messages.extend([await socket.receive_json() for _ in range(3)])
        await socket.send_json(END | {"seq": 2})

    async with connect(await server_of(script)) as stream:
        await stream.flush("f")
        await stream.ping(7)
        await stream.stop()
        await events_of(stream)
    assert messages == [{"type": "flush", "id": "f"}, {"type": "ping", "id": 7}, {"type": "stop"}]


@pytest.mark.parametrize(
    ("after_ready", "reason"),
    [
        ('{"type": "ack", "received_ms": 1, "seq": 3}', "event 3 follows event 1"),
        ('{"type": "ack", "received_ms": 1, "seq": 1}', "event 1 follows event 1"),
        ('{"type": "ack", "seq": 2}', "not an event: Ack without received_ms"),
        ("hello", "not an event"),
        ("[]", "not an event"),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_told_apart(
    server_of: ServerOf, after_ready: str, reason: str
) -> None:
    """A gap means lost captions: going on as if nothing had happened would hide it."""

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.send_str(after_ready)

    async with connect(await server_of(script)) as stream:
        with pytest.raises(StreamClosed, match=reason) as closed:
            await anext(stream)
    assert closed.value.code == 1002


async def test_a_stream_that_a_fatal_error_ends_reports_it_and_then_says_why_it_is_closed(server_of: ServerOf) -> None:
    report = {"type": "error", "code": "idle_timeout", "message": "no audio for 60 s", "fatal": True}

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.send_json(report | {"seq": 2})
        await socket.close(code=1008)

    async with connect(await server_of(script)) as stream:
        error = await anext(stream)
        assert error == ErrorReport("idle_timeout", "no audio for 60 s", fatal=True)
        with pytest.raises(StreamClosed) as closed:
            await anext(stream)
        assert (closed.value.code, closed.value.reason, closed.value.error) == (1008, "no audio for 60 s", error)
        with pytest.raises(StreamClosed, match="no audio for 60 s"):
            await stream.send_audio(b"1234")


async def test_a_rejected_start_is_an_error_of_connect(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json({"type": "error", "code": "invalid_message", "message": "no such task", "fatal": True})

    with pytest.raises(StreamClosed, match="no such task") as closed:
        async with connect(await server_of(script), task="sing"):
            pass
    assert closed.value.error is not None


async def test_a_sender_learns_from_the_reader_why_the_server_went_away(server_of: ServerOf) -> None:
    report = {"type": "error", "code": "invalid_container", "message": "not audio", "fatal": True, "seq": 2}

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.send_json(report)
        await socket.close(code=1008)

    async with connect(await server_of(script)) as stream:

        async def speak() -> None:
            while True:
                await stream.send_audio(bytes(MAX_MESSAGE_BYTES))

        speaking = asyncio.create_task(speak())
        with pytest.raises(StreamClosed, match="not audio"):
            await events_of(stream)
        with pytest.raises(StreamClosed, match="not audio"):
            await speaking


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
            yield bytes(MAX_MESSAGE_BYTES)

    end = await transcribe(await server_of(script), endless(), lambda event: None)
    assert end.reason == "draining"


async def test_transcribe_fails_with_the_error_of_its_audio(server_of: ServerOf) -> None:
    """A file that breaks in the middle is the caller's own error, not a group of tasks' errors."""

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


async def test_real_time_sends_short_messages_each_once_its_end_would_have_been_recorded() -> None:
    """1 kB/s: 40 bytes a message, cut otherwise than they came, and none early."""
    clock = asyncio.get_running_loop().time
    begin_s = clock()
    audio = bytes(range(110))
    messages = [(chunk, clock() - begin_s) async for chunk in real_time(chunks_of(audio[:90], audio[90:]), 1000)]
    assert [chunk for chunk, _ in messages] == [audio[:40], audio[40:80], audio[80:]]
    assert all(at_s >= due_s - 0.001 for (_, at_s), due_s in zip(messages, [0.04, 0.08, 0.11], strict=True))


async def test_a_gap_that_the_server_tells_is_no_break_of_the_protocol(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.send_json({"type": "gap", "start_ms": 0, "end_ms": 900, "seq": 40})
        await socket.send_json(END | {"seq": 41})

    async with connect(await server_of(script)) as stream:
        assert await events_of(stream) == [Gap(0, 900), End(1000, 1, "stop")]


async def test_a_session_that_can_be_resumed_is_resumed_from_where_the_server_is(server_of: ServerOf) -> None:
    """What was said while the connection was lost is in `received_ms` of the server's answer, or is said again."""
    starts: list[dict[str, Any]] = []
    audio: list[bytes] = []

    async def script(socket: web.WebSocketResponse, start: dict[str, Any]) -> None:
        starts.append(start)
        if len(starts) == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
            await socket.receive_bytes()
            assert socket._req is not None
            assert socket._req.transport is not None
            socket._req.transport.abort()
            return
        ready = {name: value for name, value in READY.items() if name != "seq"}
        await socket.send_json(ready | {"received_ms": 10})
        audio.append(await socket.receive_bytes())
        await socket.send_json(FINAL | {"seq": 2})
        await socket.send_json(END | {"seq": 3})

    async with connect(await server_of(script)) as stream:
        await stream.send_audio(bytes(range(64)) * 10)  # 20 ms
        assert [type(event) for event in await events_of(stream)] == [Final, End]
    assert starts[1] == {"type": "start", "resume": {"session": "s1", "token": "r", "last_seq": 1, "audio_from_ms": 0}}
    assert audio == [bytes(range(64)) * 5]


async def test_a_session_that_the_server_has_forgotten_is_over_with_its_reason(server_of: ServerOf) -> None:
    n_connections = 0

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        nonlocal n_connections
        n_connections += 1
        if n_connections == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
            assert socket._req is not None
            assert socket._req.transport is not None
            socket._req.transport.abort()
        else:
            error = {"type": "error", "code": "unknown_session", "message": "no such session", "fatal": True}
            await socket.send_json(error)

    async with connect(await server_of(script)) as stream:
        with pytest.raises(StreamClosed, match="no such session") as closed:
            await events_of(stream)
    assert closed.value.error is not None
    assert closed.value.error.code == "unknown_session"


async def test_sending_waits_while_too_much_is_unacknowledged(
    server_of: ServerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livecaption.client.MAX_UNACKNOWLEDGED_BYTES", 1000)
    acknowledge = asyncio.Event()

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY | {"resume_window_ms": 5000})
        await acknowledge.wait()
        await socket.send_json({"type": "ack", "received_ms": 60, "seq": 2})
        await socket.send_json(END | {"seq": 3})

    async with connect(await server_of(script)) as stream:
        reading = asyncio.ensure_future(events_of(stream))
        sending = asyncio.ensure_future(stream.send_audio(bytes(1920)))
        done, _ = await asyncio.wait({sending}, timeout=0.05)
        assert not done
        acknowledge.set()
        await asyncio.wait_for(sending, 5)
        await reading
