"""Clients of vosk-server and of WhisperLive over real sockets: their conversations, and what they may do wrong."""

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from livecaption.live.config import LiveConfig, SocketLimits
from livecaption.server.services import SERVICES
from tests.support.eventually import eventually
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close, start_stream

END_OF_AUDIO = b"END_OF_AUDIO"
OPTIONS = {"uid": "u", "language": "en", "audio_format": "int16"}
VOSK = ("/vosk", "/")
WHISPER_LIVE = ("/whisperlive", "/ws", "/")


async def send(socket: ClientWebSocketResponse, *messages: Any) -> None:
    for message in messages:
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_str(message if isinstance(message, str) else json.dumps(message))


def words(text: str) -> str:
    return text.strip().lower().rstrip(".")


@pytest.mark.parametrize("path", VOSK)
async def test_a_client_of_vosk_gets_one_reply_to_each_chunk_and_all_text(client: Client, path: str) -> None:
    socket = await client.ws_connect(path)
    await send(socket, {"config": {"sample_rate": 16_000}})
    replies = []
    audio = SPEECH + PAUSE
    for start in range(0, len(audio), 6400):
        await socket.send_bytes(audio[start : start + 6400])
        replies.append(await read_event(socket))
    await send(socket, '{"eof" : 1}')
    replies += await read_to_the_close(socket)
    assert socket.close_code == 1000
    assert len(replies) == -(-len(audio) // 6400) + 1
    texts = [reply["text"] for reply in replies if reply.get("text")]
    assert [words(text)[:13] for text in texts] == ["one two three"]


async def test_the_log_has_the_rate_that_a_client_of_vosk_names(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "livecaption.live")
    socket = await client.ws_connect("/vosk")
    await send(socket, {"config": {"sample_rate": 16_000}}, {"config": {"words": 1}}, SPEECH)
    await read_event(socket)
    await socket.close()
    lines = [record.getMessage().partition(" ")[2] for record in caplog.records if "session=" in record.getMessage()]
    assert lines[:2] == [
        "started: pcm_s16le 8000 Hz, 1 channels, mix",
        "goes on: pcm_s16le 16000 Hz, 1 channels, mix",
    ]
    assert sum(line.startswith("goes on") for line in lines) == 1


@pytest.mark.parametrize("path", WHISPER_LIVE)
async def test_a_client_of_whisperlive_gets_segments(client: Client, path: str) -> None:
    socket = await client.ws_connect(path)
    await send(socket, OPTIONS)
    assert await read_event(socket) == {"uid": "u", "message": "SERVER_READY", "backend": "faster_whisper"}
    await send(socket, SPEECH + PAUSE, END_OF_AUDIO)
    messages = await read_to_the_close(socket)
    assert socket.close_code == 1000
    [segment] = messages[-1]["segments"]
    assert segment["completed"]
    assert words(segment["text"]).startswith("one two three")


async def test_both_show_text_while_somebody_speaks(client: Client) -> None:
    vosk, whisper_live = await client.ws_connect("/vosk"), await client.ws_connect("/whisperlive")
    await send(vosk, {"config": {"sample_rate": 16_000}}, SPEECH)
    await send(whisper_live, OPTIONS, SPEECH)
    while not (reply := await read_event(vosk))["partial"]:
        await send(vosk, b"")
    assert reply["partial"].startswith("One")
    while not (segments := (await read_event(whisper_live)).get("segments")):
        pass
    assert not segments[-1]["completed"]
    await vosk.close()
    await whisper_live.close()


async def test_float_audio_gives_the_same_text(client: Client) -> None:
    socket = await client.ws_connect("/whisperlive")
    await send(socket, {"uid": 7, "language": "en"})
    floats = (np.frombuffer(SPEECH + PAUSE, "<i2") / 32768).astype("<f4").tobytes()
    await send(socket, floats, END_OF_AUDIO)
    messages = await read_to_the_close(socket)
    assert words(messages[-1]["segments"][-1]["text"]).startswith("one two three")


async def test_a_plain_request_of_the_root_is_still_the_page(client: Client) -> None:
    for method in ("GET", "HEAD"):
        async with client.request(method, "/") as response:
            assert (response.status, response.content_type) == (200, "text/html")


async def test_a_reset_is_answered_and_the_stream_goes_on(client: Client) -> None:
    socket = await client.ws_connect("/vosk")
    await send(socket, {"config": {"sample_rate": 16_000, "words": False}}, SPEECH)
    await read_event(socket)
    await send(socket, '{"reset" : 1}')
    assert (await read_event(socket))["text"]
    await send(socket, PAUSE, '{"eof" : 1}')
    assert [list(reply) for reply in await read_to_the_close(socket)] == [["partial"], ["text"]]


@pytest.mark.parametrize("path", WHISPER_LIVE)
async def test_a_full_server_lets_a_client_of_whisperlive_wait(start_server: StartServer, path: str) -> None:
    client = await start_server(max_streams=1)
    other = await start_stream(client)
    socket = await client.ws_connect(path)
    await send(socket, OPTIONS)
    assert await read_to_the_close(socket) == [{"uid": "u", "status": "WAIT", "message": 1}]
    assert socket.close_code == 1013
    assert client.app[SERVICES].sessions.refused == {"overloaded": 1}
    await other.close()


async def test_a_full_server_refuses_a_client_of_vosk_before_the_upgrade(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    other = await start_stream(client)
    with pytest.raises(WSServerHandshakeError, match="503"):
        await client.ws_connect("/vosk")
    await other.close()


async def test_a_client_that_was_not_admitted_yet_holds_no_slot(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    waiting = await client.ws_connect("/whisperlive")
    other = await start_stream(client)
    await other.close()
    await eventually(lambda: len(client.app[SERVICES].sessions) == 0)
    await send(waiting, OPTIONS)
    assert (await read_event(waiting))["message"] == "SERVER_READY"
    assert len(client.app[SERVICES].lobby) == 0
    await waiting.close()


async def test_a_crowd_that_sends_nothing_is_refused_before_the_upgrade(start_server: StartServer) -> None:
    client = await start_server()
    lobby = client.app[SERVICES].lobby
    lobby._max_connections = 1
    waiting = await client.ws_connect("/whisperlive")
    with pytest.raises(WSServerHandshakeError, match="503"):
        await client.ws_connect("/")
    assert client.app[SERVICES].sessions.refused == {"overloaded": 1}
    await (await start_stream(client)).close()
    await waiting.close()
    await eventually(lambda: len(lobby) == 0)


@pytest.mark.parametrize("path", ["/vosk", "/whisperlive", "/ws", "/"])
async def test_a_key_that_is_missing_or_wrong_is_refused_before_the_upgrade(
    start_server: StartServer, path: str
) -> None:
    client = await start_server(token="a secret of the operator")
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(WSServerHandshakeError, match="401"):
            await client.ws_connect(path, headers=headers)
    right = {"Authorization": "Bearer a secret of the operator"}
    await (await client.ws_connect(path, headers=right)).close()


@pytest.mark.parametrize("path", ["/vosk", "/whisperlive", "/ws", "/"])
async def test_a_page_of_another_site_is_refused(client: Client, path: str) -> None:
    with pytest.raises(WSServerHandshakeError, match="403"):
        await client.ws_connect(path, headers={"Origin": "https://evil.example"})


async def test_an_extension_of_a_browser_that_is_allowed_is_served(start_server: StartServer) -> None:
    extension = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
    client = await start_server(allowed_origins=(extension,))
    socket = await client.ws_connect("/", headers={"Origin": extension})
    await send(socket, {"uid": "u", "language": None, "task": "transcribe", "model": "small"})
    assert (await read_event(socket))["message"] == "SERVER_READY"
    await socket.close()


async def test_a_client_that_sends_no_message_is_closed(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(socket=SocketLimits(start_timeout_s=0.1)))
    socket = await client.ws_connect("/whisperlive")
    [message] = await read_to_the_close(socket)
    assert (message["status"], socket.close_code) == ("ERROR", 1008)


@pytest.mark.parametrize(
    ("path", "messages", "close_code"),
    [
        ("/vosk", ["rubbish"], 1008),
        ("/vosk", [{"hello": 1}], 1008),
        ("/vosk", [{"config": {"sample_rate": 1}}], 1008),
        ("/vosk", ["x" * 70_000], 1009),
        ("/vosk", [bytes(1024 * 1024 + 1)], 1009),
        ("/whisperlive", ["rubbish"], 1008),
        ("/whisperlive", [b"audio"], 1008),
        ("/whisperlive", [{**OPTIONS, "language": "xx"}], 1008),
        ("/whisperlive", ["x" * 70_000], 1009),
        ("/whisperlive", [OPTIONS, bytes(1024 * 1024 + 1)], 1009),
        ("/", ["rubbish"], 1008),
        ("/", [{"type": "start"}], 1008),
    ],
)
async def test_a_wrong_message_closes_its_connection_and_no_other(
    client: Client, path: str, messages: list[Any], close_code: int
) -> None:
    other = await start_stream(client)
    socket = await client.ws_connect(path)
    await send(socket, *messages)
    while (await socket.receive(timeout=20)).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass
    assert socket.close_code == close_code
    await other.send_json({"type": "stop"})
    assert (await read_to_the_close(other))[-1]["type"] == "end"


@pytest.mark.parametrize("path", ["/vosk", "/whisperlive"])
async def test_a_message_of_20_mb_closes_its_connection(client: Client, path: str) -> None:
    socket = await client.ws_connect(path)
    with suppress(ConnectionError):
        await socket.send_bytes(bytes(20_000_000))
    while (await socket.receive(timeout=20)).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass
    assert socket.close_code in (1006, 1009)


@pytest.mark.parametrize("messages", [[], [OPTIONS], [OPTIONS, SPEECH], [OPTIONS, SPEECH, END_OF_AUDIO]])
async def test_a_client_of_whisperlive_may_leave_at_any_time(client: Client, messages: list[Any]) -> None:
    socket = await client.ws_connect("/whisperlive")
    await send(socket, *messages)
    socket._writer.transport.abort()
    services = client.app[SERVICES]
    await eventually(lambda: len(services.sessions) == len(services.lobby) == 0)


@pytest.mark.parametrize("messages", [[], [SPEECH], [SPEECH, '{"reset": 1}'], [SPEECH, '{"eof": 1}']])
async def test_a_client_of_vosk_may_leave_at_any_time(client: Client, messages: list[Any]) -> None:
    socket = await client.ws_connect("/vosk")
    await send(socket, *messages)
    socket._writer.transport.abort()
    await eventually(lambda: len(client.app[SERVICES].sessions) == 0)


async def test_an_empty_stream_and_half_a_sample_end_in_order(client: Client) -> None:
    for audio in ([], [b"\0"], [b""]):
        socket = await client.ws_connect("/vosk")
        await send(socket, *audio, '{"eof": 1}')
        assert (await read_to_the_close(socket))[-1] == {"text": ""}
        socket = await client.ws_connect("/whisperlive")
        await send(socket, OPTIONS, *audio, END_OF_AUDIO)
        assert (await read_to_the_close(socket))[0]["message"] == "SERVER_READY"
        assert socket.close_code == 1000


async def test_text_behind_the_options_is_a_warning(client: Client) -> None:
    socket = await client.ws_connect("/whisperlive")
    await send(socket, OPTIONS, "late", END_OF_AUDIO)
    statuses = [message.get("status") for message in await read_to_the_close(socket)]
    assert statuses.count("WARNING") == 1


async def test_a_flood_of_tiny_messages_gets_as_many_replies(client: Client) -> None:
    socket = await client.ws_connect("/vosk")
    for _ in range(500):
        await socket.send_bytes(b"\0\0")
    await send(socket, '{"eof": 1}')
    assert len(await read_to_the_close(socket)) == 501


async def test_a_stop_of_the_server_ends_both_with_their_text(start_server: StartServer) -> None:
    client = await start_server()
    vosk, whisper_live = await client.ws_connect("/vosk"), await client.ws_connect("/whisperlive")
    waiting = await client.ws_connect("/")
    await send(vosk, {"config": {"sample_rate": 16_000}}, SPEECH)
    await send(whisper_live, OPTIONS, SPEECH)
    await read_event(vosk)
    await eventually(lambda: client.app[SERVICES].sessions.received_ms >= 2800)
    draining = asyncio.ensure_future(client.app[SERVICES].sessions.drain())
    assert (await read_to_the_close(vosk))[-1]["text"]
    messages = await read_to_the_close(whisper_live)
    assert messages[-1] == {"uid": "u", "message": "DISCONNECT"}
    assert any(message.get("segments", [{}])[-1].get("completed") for message in messages)
    assert await read_to_the_close(waiting) == []
    assert vosk.close_code == whisper_live.close_code == waiting.close_code == 1001
    await draining
