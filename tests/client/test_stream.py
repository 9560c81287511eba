"""The guarantees of `livecaption.client` to its users, tested with a server that follows a script."""

import asyncio
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from livecaption.client import (
    Reconnected,
    Reconnecting,
    Stream,
    StreamClosed,
    StreamEvent,
    connect,
)
from livecaption.client.stream import MAX_MESSAGE_BYTES, MAX_UNACKNOWLEDGED_BYTES
from livecaption.events import End, ErrorReport, Final, Gap, SpeakerNamed, Status
from tests.support.scripted_peer import END, FINAL, READY, ServerOf


def abort(socket: web.WebSocketResponse) -> None:
    """Break the connection, without a Close."""
    assert socket._req is not None
    assert socket._req.transport is not None
    socket._req.transport.abort()


async def events_of(stream: Stream) -> list[StreamEvent]:
    return [event async for event in stream]


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
        await stream.stop(end_room=True)
        await events_of(stream)
    stop = {"type": "stop", "end_room": True}
    assert messages == [{"type": "flush", "id": "f"}, {"type": "ping", "id": 7}, stop]


async def test_a_speaker_gets_a_name_which_comes_back_as_an_event(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY | {"speakers": True})
        assert await socket.receive_json() == {"type": "name", "speaker": 2, "name": "Ada"}
        await socket.send_json({"type": "name", "speaker": 2, "name": "Ada", "seq": 2})
        await socket.send_json(END | {"seq": 3})

    async with connect(await server_of(script)) as stream:
        await stream.name(2, " Ada ")
        assert (await events_of(stream))[0] == SpeakerNamed(2, "Ada")
        assert stream.ready.speakers


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
async def test_a_server_that_breaks_the_protocol_raises_an_error_of_its_own(
    server_of: ServerOf, after_ready: str, reason: str
) -> None:
    """A gap means lost captions, and continuing would hide it."""

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.send_str(after_ready)

    async with connect(await server_of(script)) as stream:
        with pytest.raises(StreamClosed, match=reason) as closed:
            await anext(stream)
    assert closed.value.code == 1002


async def test_a_stream_that_a_fatal_error_ends_yields_it_and_then_raises_the_reason_of_its_close(
    server_of: ServerOf,
) -> None:
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


async def test_a_gap_that_the_server_announces_does_not_break_the_protocol(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY)
        await socket.send_json({"type": "gap", "start_ms": 0, "end_ms": 900, "seq": 40})
        await socket.send_json(END | {"seq": 41})

    async with connect(await server_of(script)) as stream:
        assert await events_of(stream) == [Gap(0, 900), End(1000, 1, "stop")]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_session_that_can_be_resumed_is_resumed_from_where_the_server_is(
    server_of: ServerOf, restarts: bool
) -> None:
    """The connection is lost, or the server restarts in order.

    Audio from the time without a connection is in `received_ms` of the server's answer, or is resent.
    """
    starts: list[dict[str, Any]] = []
    audio: list[bytes] = []

    async def script(socket: web.WebSocketResponse, start: dict[str, Any]) -> None:
        starts.append(start)
        if len(starts) == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
            await socket.receive_bytes()
            if restarts:
                await socket.close(code=1012)
            else:
                abort(socket)
            return
        ready = {name: value for name, value in READY.items() if name != "seq"}
        await socket.send_json(ready | {"received_ms": 10})
        audio.append(await socket.receive_bytes())
        await socket.send_json(FINAL | {"seq": 2})
        await socket.send_json(END | {"seq": 3})

    async with connect(await server_of(script)) as stream:
        await stream.send_audio(bytes(range(64)) * 10)  # 20 ms
        # The program can show that nothing comes now, and why.
        assert [type(event) for event in await events_of(stream)] == [Reconnecting, Reconnected, Final, End]
    assert starts[1] == {"type": "start", "resume": {"session": "s1", "token": "r", "last_seq": 1, "audio_from_ms": 0}}
    assert audio == [bytes(range(64)) * 5]


async def test_a_session_that_the_server_has_forgotten_is_over_with_its_reason(server_of: ServerOf) -> None:
    n_connections = 0

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        nonlocal n_connections
        n_connections += 1
        if n_connections == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
            abort(socket)
        else:
            error = {"type": "error", "code": "unknown_session", "message": "no such session", "fatal": True}
            await socket.send_json(error)

    async with connect(await server_of(script)) as stream:
        with pytest.raises(StreamClosed, match="no such session") as closed:
            await events_of(stream)
    assert closed.value.error is not None
    assert closed.value.error.code == "unknown_session"


@pytest.mark.parametrize("answer", ["applause", "[]", '{"type": "ready"}'])
async def test_a_server_that_breaks_the_protocol_when_a_session_is_resumed_raises_the_same_error(
    server_of: ServerOf, answer: str
) -> None:
    n_connections = 0

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        nonlocal n_connections
        n_connections += 1
        if n_connections == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
            abort(socket)
        else:
            await socket.send_str(answer)

    async with connect(await server_of(script)) as stream:
        with pytest.raises(StreamClosed, match="not an event") as closed:
            await events_of(stream)
    assert (closed.value.code, n_connections) == (1002, 2)


async def test_a_connection_that_is_lost_again_before_the_session_is_resumed_is_opened_again(
    server_of: ServerOf,
) -> None:
    n_connections = 0

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        nonlocal n_connections
        n_connections += 1
        if n_connections == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
        if n_connections < 3:
            abort(socket)
            return
        await socket.send_json({name: value for name, value in READY.items() if name != "seq"})
        await socket.send_json(END | {"seq": 2})

    async with connect(await server_of(script)) as stream:
        assert [type(event) for event in await events_of(stream)] == [Reconnecting, Reconnected, End]
    assert n_connections == 3


async def test_a_binary_message_of_a_newer_server_is_skipped(server_of: ServerOf) -> None:
    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY | {"resume_window_ms": 5000})
        await socket.send_bytes(b"applause")
        await socket.send_json(END | {"seq": 2})

    async with connect(await server_of(script)) as stream:
        assert [type(event) for event in await events_of(stream)] == [End]


async def test_a_session_that_waits_for_a_slot_is_asked_for_again(server_of: ServerOf) -> None:
    """Also after the resume window, which the server counts from when it notices the loss."""
    n_connections = 0

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        nonlocal n_connections
        n_connections += 1
        if n_connections == 1:
            await socket.send_json(READY | {"resume_window_ms": 1})
            abort(socket)
        elif n_connections < 4:
            full = {"code": "overloaded", "message": "no slot", "fatal": True, "retry_after_s": 0.1}
            await socket.send_json({"type": "error", **full})
        else:
            await socket.send_json({name: value for name, value in READY.items() if name != "seq"})
            await socket.send_json(END | {"seq": 2})

    async with connect(await server_of(script)) as stream:
        assert [type(event) for event in await events_of(stream)] == [Reconnecting, Reconnected, End]


async def test_sending_waits_while_too_much_is_unacknowledged(server_of: ServerOf) -> None:
    n_messages = MAX_UNACKNOWLEDGED_BYTES // MAX_MESSAGE_BYTES
    received = asyncio.Event()
    acknowledge = asyncio.Event()

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY | {"resume_window_ms": 5000})
        for _number in range(n_messages + 1):
            await socket.receive_bytes()
        received.set()
        await acknowledge.wait()
        await socket.send_json({"type": "ack", "received_ms": 3000, "seq": 2})
        await socket.receive_bytes()
        await socket.send_json(END | {"seq": 3})

    async with connect(await server_of(script)) as stream:
        reading = asyncio.ensure_future(events_of(stream))
        sending = asyncio.ensure_future(stream.send_audio(bytes((n_messages + 2) * MAX_MESSAGE_BYTES)))
        await received.wait()
        done, _ = await asyncio.wait({sending}, timeout=0.05)
        assert not done
        acknowledge.set()
        await reading
        await asyncio.wait_for(sending, 5)


@pytest.mark.parametrize("resume_window_ms", [0, 5000])
async def test_a_task_that_still_sends_ends_when_the_block_is_left(server_of: ServerOf, resume_window_ms: int) -> None:
    received = asyncio.Event()

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        await socket.send_json(READY | {"resume_window_ms": resume_window_ms})
        async for _message in socket:
            received.set()

    async def send(stream: Stream) -> None:
        while True:
            await stream.send_audio(bytes(3200))
            await asyncio.sleep(0)

    async with connect(await server_of(script)) as stream:
        sending = asyncio.ensure_future(send(stream))
        await received.wait()
    with pytest.raises(StreamClosed, match="the stream was left"):
        await asyncio.wait_for(sending, 5)


async def test_audio_that_comes_while_lost_audio_is_sent_again_is_sent_behind_it(server_of: ServerOf) -> None:
    """On the second connection, the server reads one message, and the others once there is newer audio."""
    lost = [bytes([number]) * 65_536 for number in range(256)]  # more than all buffers on the way hold
    n_connections = 0
    being_sent, sending_more = asyncio.Event(), asyncio.Event()
    received: list[bytes] = []

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        nonlocal n_connections
        n_connections += 1
        if n_connections == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
            abort(socket)
            return
        await socket.send_json({name: value for name, value in READY.items() if name != "seq"})
        received.append(await socket.receive_bytes())
        being_sent.set()
        await sending_more.wait()
        while len(received) < len(lost) + 1:
            received.append(await socket.receive_bytes())
        await socket.send_json(END | {"seq": 2})

    async def send_more(stream: Stream) -> None:
        await being_sent.wait()
        sending = asyncio.create_task(stream.send_audio(b"newer"))
        await asyncio.wait({sending}, timeout=0.05)  # by now it would have been sent
        sending_more.set()
        await sending

    async with connect(await server_of(script)) as stream:
        for audio in lost:
            await stream.send_audio(audio)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_more(stream))
            assert await events_of(stream) == [Reconnecting(), Reconnected(), End(1000, 1, "stop")]
    assert received == [*lost, b"newer"]
