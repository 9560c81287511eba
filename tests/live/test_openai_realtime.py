"""OpenAI's Realtime API over real sockets: refusals, faults of clients, and clients that leave."""

import asyncio
import base64
import json
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from livecaption.live.config import AudioLimits, LiveConfig, SessionLimits
from livecaption.live.dialects.dialect import MAX_ERRORS
from livecaption.live.dialects.openai_realtime import LIMITS
from livecaption.live.registry import SessionRegistry
from livecaption.server.services import SERVICES
from tests.support.eventually import eventually
from tests.support.serving import (
    Client,
    StartServer,
    read_event,
    read_to_the_close,
    read_until,
    start_stream,
)
from tests.support.speech import pcm_s16le, sound

PATH = "/v1/realtime?intent=transcription"
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms", 24_000))
SILENCE = pcm_s16le(sound("silence 1000ms", 24_000))
TURN = SPEECH + SILENCE
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"
COMMIT = {"type": "input_audio_buffer.commit"}


def append(audio: bytes) -> dict[str, str]:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()}


def asking(**audio_input: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio_input}}}


def sessions_of(client: Client) -> SessionRegistry:
    return client.app[SERVICES].sessions


async def connect(client: Client, *messages: dict[str, Any]) -> ClientWebSocketResponse:
    socket = await client.ws_connect(PATH)
    assert (await read_event(socket))["type"] == "session.created"
    for message in messages:
        await socket.send_json(message)
    return socket


async def test_readers_follow_a_session_by_its_id(client: Client) -> None:
    socket = await client.ws_connect(PATH)
    session = (await read_event(socket))["session"]["id"]
    reader = await client.ws_connect(f"/v1/sessions/{session}/watch")
    await socket.send_json(append(TURN))
    completed = await read_until(socket, COMPLETED)
    assert (await read_until(reader, "final"))["text"] == completed["transcript"] != ""
    await socket.close()
    assert (await read_to_the_close(reader))[-1]["type"] == "end"


async def test_a_turn_ends_where_the_audio_stops_sooner_than_the_server_would_end_it(start_server: StartServer) -> None:
    limits = SessionLimits(audio=AudioLimits(patience_in_speech_s=3600.0))
    client = await start_server(live=LiveConfig(session=limits))
    turns = {"type": "server_vad", "silence_duration_ms": 100}
    socket = await connect(client, asking(turn_detection=turns), append(SPEECH))
    await read_until(socket, "input_audio_buffer.speech_stopped")
    assert (await read_until(socket, COMPLETED))["transcript"]
    await socket.close()


async def test_a_socket_may_be_idle_for_any_time_and_is_used_again(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(session=SessionLimits(tick_s=0.05, idle_timeout_s=0.2)))
    socket = await connect(client, asking(format={"type": "audio/pcmu"}), append(b"\xff" * 8000))
    native = await start_stream(client)  # it is idle for less time
    assert (await read_to_the_close(native))[-1]["reason"] == "error"
    await socket.send_json(asking(format={"type": "audio/pcm", "rate": 24_000}))
    await socket.send_json(append(TURN))
    assert (await read_until(socket, COMPLETED))["transcript"]
    await socket.close()


async def test_a_language_that_the_model_does_not_have_changes_nothing(client: Client) -> None:
    wrong = {**asking(transcription={"language": "tlh"}), "event_id": "klingon"}
    n_wrong = MAX_ERRORS + 1
    socket = await connect(client, *[wrong] * n_wrong, asking(transcription={"language": "en"}), append(TURN))
    for _ in range(n_wrong):
        error = (await read_event(socket))["error"]
        assert (error["code"], error["event_id"]) == ("unsupported_language", "klingon")
    updated = await read_event(socket)
    assert updated["session"]["audio"]["input"]["transcription"] == {"language": "en"}
    assert (await read_until(socket, COMPLETED))["transcript"]
    await socket.close()


async def test_a_turn_that_the_engine_fails_to_transcribe_costs_only_itself(client: Client) -> None:
    socket = await connect(client, asking(transcription={"prompt": "script: fail"}), append(TURN))
    failed = await read_until(socket, FAILED)
    assert failed["error"]["code"] == "transcription_failed"
    await socket.send_json(asking(transcription={"prompt": ""}))
    await socket.send_json(append(TURN))
    completed = await read_until(socket, COMPLETED)
    assert completed["transcript"]
    assert completed["item_id"] != failed["item_id"]
    await socket.close()


# Before the upgrade


async def test_a_key_is_needed_before_the_upgrade_and_a_browser_sends_it_as_a_subprotocol(
    start_server: StartServer,
) -> None:
    client = await start_server(token="secret")
    for shown in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(WSServerHandshakeError) as refusal:
            await client.ws_connect(PATH, headers=shown)
        assert refusal.value.status == 401
        answer = await client.get(PATH, headers=shown)
        assert (await answer.json())["error"]["code"] == "invalid_api_key"
    for offered in ([], ["realtime", "openai-insecure-api-key.secret"]):
        shown = {} if offered else {"Authorization": "Bearer secret"}
        socket = await client.ws_connect(PATH, headers=shown, protocols=offered)
        assert socket.protocol == ("realtime" if offered else None)
        assert (await read_event(socket))["type"] == "session.created"
        await socket.close()


async def test_a_model_in_the_address_that_the_server_is_not_able_to_be_is_refused_before_the_upgrade(
    client: Client,
) -> None:
    answer = await client.get(PATH, params={"model": "gpt-4o-transcribe-diarize"})
    assert (answer.status, (await answer.json())["error"]["code"]) == (400, "unsupported_speakers")
    with pytest.raises(WSServerHandshakeError, match="400"):
        await client.ws_connect(PATH, params={"model": "gpt-4o-transcribe-diarize"})


async def test_a_full_server_refuses_before_the_upgrade(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    socket = await connect(client)
    answering = asyncio.ensure_future(read_to_the_close(socket))  # pings are answered by reading
    answer = await client.get(PATH)
    assert answer.status == 503
    assert (await answer.json())["error"] == {
        "type": "server_error",
        "code": "server_overloaded",
        "message": "as many streams as this server takes are open",
        "param": None,
    }
    await socket.close()
    await answering


async def test_a_server_that_stops_sends_the_last_turn_and_asks_to_connect_again(client: Client) -> None:
    before_ms = sessions_of(client).received_ms
    socket = await connect(client, asking(turn_detection=None), append(SPEECH))
    await eventually(lambda: sessions_of(client).received_ms - before_ms >= 1400)
    draining = asyncio.ensure_future(sessions_of(client).drain())
    events = await read_to_the_close(socket)
    assert events[-1]["type"] == COMPLETED
    assert socket.close_code == 1012
    await draining


# Bad input

MISTAKES = {
    "not JSON": ("hello", "invalid_json"),
    "unknown event": (json.dumps({"type": "response.create"}), "invalid_value"),
    "not base64": (json.dumps({"type": "input_audio_buffer.append", "audio": "*"}), "invalid_value"),
    "binary": (b"\x00\x01", "invalid_message"),
    "commit of nothing": (json.dumps(COMMIT), "input_audio_buffer_commit_empty"),
    "wrong format": (json.dumps(asking(format={"type": "opus"})), "invalid_value"),
}


@pytest.mark.parametrize(("message", "code"), MISTAKES.values(), ids=MISTAKES.keys())
async def test_a_mistake_is_an_error_and_the_session_goes_on_however_often(
    client: Client, message: str | bytes, code: str
) -> None:
    socket = await connect(client)
    for _ in range(30):
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
        error = await read_event(socket)
        assert (error["type"], error["error"]["code"]) == ("error", code)
    await socket.send_json(append(TURN))
    assert (await read_until(socket, COMPLETED))["transcript"]
    await socket.close()


async def leaves_at_once(socket: ClientWebSocketResponse) -> None:
    pass


async def leaves_behind_half_a_sample(socket: ClientWebSocketResponse) -> None:
    await socket.send_json(append(b"\x01"))


async def leaves_while_speaking(socket: ClientWebSocketResponse) -> None:
    await socket.send_json(append(SPEECH))
    await read_until(socket, "input_audio_buffer.speech_started")


async def leaves_before_the_answer(socket: ClientWebSocketResponse) -> None:
    await socket.send_json(append(SPEECH))
    await socket.send_json(COMMIT)
    await read_until(socket, "input_audio_buffer.committed")


async def leaves_within_a_large_append(socket: ClientWebSocketResponse) -> None:
    await socket.send_json(append(bytes(10 * 1024 * 1024)))


@pytest.mark.parametrize("aborts", [True, False])
@pytest.mark.parametrize(
    "act",
    [
        leaves_at_once,
        leaves_behind_half_a_sample,
        leaves_while_speaking,
        leaves_before_the_answer,
        leaves_within_a_large_append,
    ],
)
async def test_a_client_may_leave_in_any_state(client: Client, act: Any, aborts: bool) -> None:
    """`nothing_is_left` checks the tasks and the log."""
    other = await connect(client, append(SPEECH))
    socket = await connect(client)
    await act(socket)
    if aborts:
        socket._writer.transport.abort()
    else:
        await socket.close()
    await eventually(lambda: len(sessions_of(client)) == 1, within_s=20)
    await other.send_json(append(SILENCE))
    assert (await read_until(other, COMPLETED))["transcript"]
    await other.close()


async def test_the_largest_append_is_taken_in_pieces_between_which_others_have_their_turn(client: Client) -> None:
    """Its 327 s of audio take seconds of computing; nobody waits for all of them."""
    socket = await connect(client)
    sessions, seen, before_ms = sessions_of(client), set(), sessions_of(client).received_ms
    other = await connect(client, append(TURN))
    message = json.dumps(append(bytes(15 * 1024 * 1024)))
    assert len(message) < LIMITS.max_text_bytes
    sending = asyncio.ensure_future(socket.send_str(message))
    while sessions.received_ms - before_ms < 60_000:
        await asyncio.sleep(0)
        seen.add(sessions.received_ms)
    await sending
    assert len(seen) >= 16
    assert (await read_until(other, COMPLETED))["transcript"]
    await other.close()
    socket._writer.transport.abort()
    await eventually(lambda: len(sessions) == 0, within_s=20)


async def test_a_larger_message_is_refused(client: Client) -> None:
    socket = await connect(client)
    await socket.send_json(append(bytes(15 * 1024 * 1024 + 60 * 1024)))
    error = await read_event(socket)
    assert error["error"]["code"] == "message_too_big"
    assert (await socket.receive(timeout=20)).type is WSMsgType.CLOSE
    assert socket.close_code == 1009


async def test_a_flood_of_tiny_messages_hurts_nobody(client: Client) -> None:
    socket, other = await connect(client), await connect(client)
    tiny = [json.dumps(message) for message in (append(b"\x00"), append(b""), {}, {"type": "input_audio_buffer.clear"})]

    async def flood() -> None:
        for number in range(800):
            await socket.send_str(tiny[number % len(tiny)])
        await socket.close()

    flooding = asyncio.ensure_future(flood())
    answers = asyncio.ensure_future(read_to_the_close(socket))
    await other.send_json(append(TURN))
    assert (await read_until(other, COMPLETED))["transcript"]
    await other.close()
    await flooding
    assert {event["type"] for event in await answers} <= {"error", "input_audio_buffer.cleared"}
