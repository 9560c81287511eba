"""Deepgram's live protocol over real sockets: `/v1/listen`, with good clients and with bad ones."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from livecaption.live.config import AudioLimits, LiveConfig, SessionLimits
from livecaption.live.dialects import deepgram
from livecaption.live.registry import SessionRegistry
from livecaption.server.services import SERVICES
from tests.support.containers import Track, container, wav
from tests.support.eventually import eventually
from tests.support.serving import PAUSE, SPEECH, Client, StartServer
from tests.support.speech import pcm_s16le, sound

PCM = {"encoding": "linear16", "sample_rate": "16000"}
CLOSE = {"type": "CloseStream"}
FINALIZE = {"type": "Finalize"}
BEGINS_ONLY = SPEECH[: len(SPEECH) // 2]

Message = bytes | str | dict[str, Any]


def sessions_of(client: Client) -> SessionRegistry:
    return client.app[SERVICES].sessions


async def connect(client: Client, **query: str) -> ClientWebSocketResponse:
    return await client.ws_connect("/v1/listen", params=PCM | query)


async def send(socket: ClientWebSocketResponse, *messages: Message) -> None:
    for message in messages:
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_str(message if isinstance(message, str) else json.dumps(message))


async def read(socket: ClientWebSocketResponse) -> dict[str, Any]:
    message = await socket.receive(timeout=20)
    assert message.type is WSMsgType.TEXT, message
    return json.loads(message.data)


async def read_all(socket: ClientWebSocketResponse) -> list[dict[str, Any]]:
    """Return all messages up to the close."""
    messages = []
    while (message := await socket.receive(timeout=20)).type is WSMsgType.TEXT:
        messages.append(json.loads(message.data))
    return messages


async def talk(socket: ClientWebSocketResponse, *messages: Message) -> list[dict[str, Any]]:
    """Send these and a CloseStream, and return all messages up to the close."""
    await send(socket, *messages, CLOSE)
    return await read_all(socket)


def types(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def finals(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "Results" and message["is_final"]]


def said(messages: Sequence[dict[str, Any]]) -> list[str]:
    transcripts = (message["channel"]["alternatives"][0]["transcript"] for message in finals(messages))
    return [transcript for transcript in transcripts if transcript]


async def natively_said(client: Client, audio: bytes) -> list[str]:
    socket = await client.ws_connect("/v1/stream")
    await send(socket, {"type": "start", "partials": False}, audio, {"type": "stop"})
    return [message["text"] for message in await read_all(socket) if message["type"] == "final"]


async def test_a_stream_has_interim_results_finals_and_metadata(client: Client) -> None:
    socket = await connect(client, interim_results="true", vad_events="true", utterance_end_ms="1000")
    messages = await talk(socket, SPEECH, PAUSE, PAUSE)
    kinds = types(messages)
    assert kinds[0] == "SpeechStarted"
    assert kinds[-2:] == ["UtteranceEnd", "Metadata"]
    final = next(message for message in finals(messages) if message["speech_final"])
    assert abs(final["start"] - 0.2) < 0.1
    assert messages[-1]["duration"] == 3.4
    assert messages[-1]["request_id"] == final["metadata"]["request_id"]
    assert final["metadata"]["model_info"]["name"] == "scripted"
    assert socket.close_code == 1000


def first_words(text: str) -> list[str]:
    return [word.rstrip(".") for word in text.split()][:6]


async def test_finals_are_contiguous_and_have_the_words_of_the_native_protocol(client: Client) -> None:
    audio = (SPEECH + PAUSE) * 3
    messages = await talk(await connect(client, punctuate="true"), audio)
    # The last word depends on how much of the pause the window has, which depends on the time that there was.
    expected = await natively_said(client, audio)
    assert [first_words(text) for text in said(messages)] == [first_words(text) for text in expected]
    closed_s = 0.0
    for final in finals(messages):
        assert final["start"] == closed_s
        closed_s = round(final["start"] + final["duration"], 3)
        (alternative,) = final["channel"]["alternatives"]
        words = alternative["words"]
        assert " ".join(word["punctuated_word"] for word in words) == alternative["transcript"]
        assert all(final["start"] <= word["start"] <= word["end"] <= closed_s for word in words)


async def test_text_without_punctuation_is_the_default(client: Client) -> None:
    (text,) = said(await talk(await connect(client), SPEECH))
    assert text == text.lower()
    assert text.isascii()
    assert text.replace(" ", "").isalpha()


async def test_finalize_is_confirmed_with_and_without_speech(client: Client) -> None:
    socket = await connect(client)
    await send(socket, SPEECH, FINALIZE)
    confirmed = []
    while len(confirmed) < 2:
        message = await read(socket)
        if message["from_finalize"]:
            confirmed.append(message["channel"]["alternatives"][0]["transcript"])
            await send(socket, FINALIZE)
    assert confirmed[0]
    assert not confirmed[1]
    assert types(await talk(socket)) == ["Results", "Metadata"]


async def test_finalize_and_configure_count_behind_the_audio_of_a_container_that_came_before(client: Client) -> None:
    sessions = sessions_of(client)
    before = {*sessions.ids}
    socket = await client.ws_connect("/v1/listen")
    speaks = sound("silence 300ms, speech 900ms", 48_000)
    configure = {"type": "Configure", "keyterms": ["livecaption"]}
    await send(socket, container("webm", [Track(speaks, "libopus")], live=True), FINALIZE, configure)
    await eventually(lambda: {*sessions.ids} > before)
    (new,) = {*sessions.ids} - before
    session = sessions.find(new)
    await eventually(lambda: session.options.transcription.hotwords)
    assert session.received_ms == pytest.approx(1200, abs=100)
    while not (message := await read(socket)).get("from_finalize"):
        pass
    assert message["channel"]["alternatives"][0]["transcript"]
    await talk(socket)


async def test_an_empty_message_closes_the_stream(client: Client) -> None:
    socket = await connect(client)
    await send(socket, SPEECH, b"")
    assert types(await read_all(socket))[-1] == "Metadata"
    assert socket.close_code == 1000


async def test_channels_apart_have_results_of_their_own(client: Client) -> None:
    left, right = sound("speech 900ms, silence 1500ms"), sound("silence 1500ms, speech 900ms")
    socket = await connect(client, channels="2", multichannel="true")
    messages = await talk(socket, pcm_s16le(np.stack((left, right), axis=1)))
    spoken = [message for message in finals(messages) if message["channel"]["alternatives"][0]["transcript"]]
    assert sorted(message["channel_index"] for message in spoken) == [[0, 2], [1, 2]]
    assert messages[-1]["channels"] == 2


@pytest.mark.parametrize("chunk", [10**6, 999], ids=["at once", "in pieces"])
async def test_a_container_is_recognised_by_its_bytes(client: Client, chunk: int) -> None:
    socket = await client.ws_connect("/v1/listen")
    file = wav(SPEECH + PAUSE)
    messages = await talk(socket, *(file[start : start + chunk] for start in range(0, len(file), chunk)))
    assert len(said(messages)) == 1
    assert socket.close_code == 1000


@pytest.mark.parametrize("query", [{}, {"encoding": "opus", "sample_rate": "48000"}], ids=["none named", "opus"])
async def test_the_chunks_of_a_media_recorder_are_decoded(client: Client, query: dict[str, str]) -> None:
    said_once = sound("silence 300ms, speech 900ms, silence 900ms", 48_000)
    file = container("webm", [Track(said_once, "libopus")], live=True)
    socket = await client.ws_connect("/v1/listen", params=query)
    messages = await talk(socket, *(file[start : start + 2000] for start in range(0, len(file), 2000)))
    assert len(said(messages)) == 1
    assert abs(messages[-1]["duration"] - 2.1) < 0.1


async def test_times_are_those_of_the_audio_also_behind_a_pause_of_sending(start_server: StartServer) -> None:
    live = LiveConfig(session=SessionLimits(audio=AudioLimits(patience_in_speech_s=0.6)))
    client = await start_server(live=live)
    socket = await connect(client)
    await send(socket, SPEECH)
    while not finals([await read(socket)])[0]["speech_final"]:
        pass
    # At least 0.6 s have passed without audio.
    (final,) = (message for message in finals(await talk(socket, SPEECH)) if message["speech_final"])
    assert 1.4 <= final["start"] < 1.7


async def test_the_id_of_the_request_is_in_the_answer_to_the_upgrade(client: Client) -> None:
    socket = await connect(client)
    request_id = socket._response.headers["dg-request-id"]
    assert (await talk(socket))[-1]["request_id"] == request_id


@pytest.mark.parametrize("scheme", ["token", "bearer"])
async def test_a_browser_shows_its_key_as_a_subprotocol(start_server: StartServer, scheme: str) -> None:
    client = await start_server(token="secret-key")
    socket = await client.ws_connect("/v1/listen", protocols=(scheme, "secret-key", "x-deepgram-session-id", "u"))
    assert socket.protocol == scheme
    assert types(await talk(socket)) == ["Metadata"]


async def test_a_key_in_the_header_is_checked_before_the_upgrade(start_server: StartServer) -> None:
    client = await start_server(token="secret-key")
    for authorization in ("Token secret-key", "Bearer secret-key"):
        socket = await client.ws_connect("/v1/listen", headers={"Authorization": authorization})
        assert types(await talk(socket)) == ["Metadata"]
    for headers in ({}, {"Authorization": "Token wrong"}):
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.ws_connect("/v1/listen", headers=headers)
        assert caught.value.status == 401
        assert caught.value.headers["dg-request-id"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"encoding": "g729"}, "the encoding must be one of"),
        ({"encoding": "linear16"}, "needs a sample_rate"),
        ({"encoding": "linear16", "sample_rate": "1"}, "the sample rate must be"),
        ({"interim_results": "maybe"}, "interim_results must be true or false"),
        ({"language": "tlh"}, "does not support this language"),
        ({"diarize": "true"}, "speakers"),
    ],
)
async def test_wrong_options_are_refused_before_the_upgrade(client: Client, query: dict[str, str], error: str) -> None:
    answer = await client.get("/v1/listen", params=query)
    body = await answer.json()
    assert answer.status == 400
    assert body["err_code"] == "INVALID_QUERY_PARAMETER"
    assert error in body["err_msg"] == answer.headers["dg-error"]
    assert body["request_id"] == answer.headers["dg-request-id"]
    with pytest.raises(WSServerHandshakeError, match="400"):
        await client.ws_connect("/v1/listen", params=query)


async def test_a_plain_request_is_answered_that_it_must_upgrade(client: Client) -> None:
    answer = await client.get("/v1/listen")
    assert (answer.status, (await answer.json())["err_code"]) == (426, "UPGRADE_REQUIRED")


@pytest.mark.parametrize(
    "messages", [[], [{"type": "KeepAlive"}], [CLOSE, CLOSE]], ids=["nothing", "KeepAlive", "closed twice"]
)
async def test_a_stream_without_audio_has_metadata_alone(client: Client, messages: list[Message]) -> None:
    socket = await connect(client)
    (metadata,) = await talk(socket, *messages)
    assert (metadata["type"], metadata["duration"]) == ("Metadata", 0.0)
    assert metadata["sha256"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert socket.close_code == 1000


async def test_audio_behind_the_close_is_dropped(client: Client) -> None:
    socket = await connect(client)
    messages = await talk(socket, SPEECH, CLOSE, SPEECH, FINALIZE)
    assert len(said(messages)) == 1
    assert "Error" not in types(messages)


async def test_wrong_text_messages_are_reported_and_the_stream_goes_on(client: Client) -> None:
    socket = await connect(client)
    messages = await talk(socket, "no JSON", {"type": "Sing"}, SPEECH, "[]")
    errors = [message for message in messages if message["type"] == "Error"]
    assert [error["variant"] for error in errors] == ["SchemaError"] * 3
    assert len(said(messages)) == 1
    assert socket.close_code == 1000


async def test_too_many_wrong_messages_end_the_stream(client: Client) -> None:
    socket = await connect(client)
    await send(socket, *["{"] * 20)
    assert types(await read_all(socket)) == ["Error"] * 20
    assert socket.close_code == 1008


async def test_half_a_sample_is_reported_at_the_end(client: Client) -> None:
    messages = await talk(await connect(client), SPEECH + b"\0")
    (error,) = [message for message in messages if message["type"] == "Error"]
    assert error["variant"] == "truncated_audio"
    assert len(said(messages)) == 1
    assert types(messages)[-1] == "Metadata"


@pytest.mark.parametrize("audio", [SPEECH, b"x" * 5000, b"\xff" * 100_000], ids=["raw audio", "text", "nothing"])
async def test_a_container_that_is_none_is_closed_with_the_reason(client: Client, audio: bytes) -> None:
    socket = await client.ws_connect("/v1/listen")
    await send(socket, audio, CLOSE)
    (error,) = await read_all(socket)
    assert error["message"] == "DATA-0000"
    assert "raw audio needs the parameters encoding and sample_rate" in error["description"]
    assert socket.close_code == 1008


async def test_a_message_of_20_mb_is_refused_and_others_go_on(client: Client) -> None:
    other, socket = await connect(client), await connect(client)
    with suppress(ConnectionError):  # the server does not read it to the end
        await send(socket, bytes(20_000_000))
    await read_all(socket)
    assert socket.closed
    assert len(said(await talk(other, SPEECH))) == 1


async def test_a_message_slightly_too_large_is_refused_with_an_error(client: Client) -> None:
    socket = await connect(client)
    await send(socket, bytes(deepgram.LIMITS.max_binary_bytes + 1))
    assert [message["variant"] for message in await read_all(socket)] == ["message_too_big"]
    assert socket.close_code == 1008


async def test_a_flood_of_tiny_messages_slows_down_nobody_else(client: Client) -> None:
    other, socket = await connect(client), await connect(client)
    await send(socket, *[SPEECH[at : at + 1] for at in range(1500)])
    assert len(said(await talk(other, SPEECH))) == 1
    (metadata,) = (message for message in await talk(socket) if message["type"] == "Metadata")
    assert metadata["duration"] == 0.046


async def test_a_silent_client_without_keep_alive_is_closed(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(session=SessionLimits(tick_s=0.001)))
    socket = await connect(client)
    (error,) = await read_all(socket)
    assert error["description"] == "neither audio nor KeepAlive for 60 s"
    assert socket.close_code == 1011


@pytest.mark.parametrize(
    "messages",
    [[], [BEGINS_ONLY], [SPEECH, PAUSE], [SPEECH, FINALIZE], [SPEECH, CLOSE], ["{"]],
    ids=["opened", "speaking", "silent", "finalizing", "closing", "mistaken"],
)
@pytest.mark.parametrize("leaves", ["closes", "vanishes"])
async def test_a_client_may_leave_in_every_state(client: Client, messages: list[Message], leaves: str) -> None:
    socket = await connect(client, interim_results="true")
    await send(socket, *messages)
    if leaves == "closes":
        await socket.close()
    else:
        socket._writer.transport.abort()
    await eventually(lambda: len(sessions_of(client)) == 0)
    assert sessions_of(client).n_parked == 0


async def test_a_stop_of_the_server_sends_the_finals(start_server: StartServer) -> None:
    client = await start_server()
    socket = await connect(client)
    await send(socket, SPEECH)
    await eventually(lambda: sessions_of(client).received_ms == 1400)
    draining = asyncio.ensure_future(sessions_of(client).drain())
    messages = await read_all(socket)
    assert len(said(messages)) == 1
    assert types(messages)[-1] == "Metadata"
    assert socket.close_code == 1001
    await draining
