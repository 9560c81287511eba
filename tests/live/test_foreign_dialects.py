"""Publishers that speak protocols which the core does not have: `tests.support.dialects`, over real sockets."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, WSServerHandshakeError

from livecaption.audio.formats import AudioFormat
from livecaption.events import ErrorReport, Event
from livecaption.live.config import LiveConfig, SessionLimits, SocketLimits
from livecaption.live.dialects import native
from livecaption.live.dialects.commands import Command, Configure, Control
from livecaption.live.dialects.dialect import Route
from livecaption.live.registry import SessionRegistry
from livecaption.server.services import SERVICES
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.store.config import StoreConfig
from tests.support.dialects import CHUNKS, DELTAS, Chunks, Deltas
from tests.support.eventually import eventually
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close
from tests.support.stored import opened

ROUTES = (native.ROUTE, CHUNKS, DELTAS)


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    return await start_server(routes=ROUTES)


def sessions_of(client: Client) -> SessionRegistry:
    return client.app[SERVICES].sessions


async def read_all(socket: ClientWebSocketResponse) -> list[Any]:
    """Return all messages up to the close."""
    messages = []
    while (message := await socket.receive(timeout=20)).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        messages.append(message.data)
    return messages


async def test_each_chunk_has_one_reply_and_the_rest_comes_with_the_end(client: Client) -> None:
    socket = await client.ws_connect("/chunks")
    n_chunks, replies = 0, []
    for start in range(0, len(SPEECH + PAUSE), 6400):
        await socket.send_bytes((SPEECH + PAUSE)[start : start + 6400])
        n_chunks += 1
        replies.append(await read_event(socket))
    await socket.send_str('"eof"')
    rest = [json.loads(message) for message in await read_all(socket)]
    texts = [reply["text"] for reply in replies + rest if "text" in reply]
    assert len(replies) == n_chunks
    assert len(texts) == 1
    assert texts[0]
    assert socket.close_code == WSCloseCode.OK


async def test_options_that_come_before_the_audio_count(client: Client) -> None:
    socket = await client.ws_connect("/chunks")
    await socket.send_str("8000")
    await socket.send_bytes(bytes(16_000))
    await read_event(socket)
    assert sessions_of(client).received_ms == 1000
    await socket.close()


async def test_options_that_come_behind_audio_count_for_what_follows(client: Client) -> None:
    socket = await client.ws_connect("/chunks")
    await socket.send_bytes(bytes(3200))
    await socket.send_str("8000")
    await socket.send_bytes(bytes(3200))
    await socket.send_str('"eof"')
    assert [json.loads(reply) for reply in await read_all(socket)] == [{"partial": ""}] * 2
    assert sessions_of(client).received_ms == 300


class Apart(Chunks):
    """Opens with two channels apart. `[encoding, rate, channels]` changes the format of the audio."""

    def connected(self) -> list[Control]:
        self._options = replace(self._options, audio=AudioFormat("pcm_s16le", 16_000, 2), channel_mode="separate")
        return super().connected()

    def receive(self, message: str | bytes) -> list[Command]:
        if isinstance(message, str):
            return [Configure(replace(self._options, audio=AudioFormat(*json.loads(message))))]
        return super().receive(message)

    def encode(self, event: Event, seq: int | None) -> Sequence[str | bytes]:
        if isinstance(event, ErrorReport):
            return [json.dumps({"error": event.message})]
        return super().encode(event, seq)


@pytest.mark.parametrize(
    ("audio", "is_taken"),
    [(("pcm_s16le", 8000, 2), True), (("pcm_s16le", 8000, 1), False), (("auto", 8000, 2), False)],
    ids=["rate", "fewer channels", "container"],
)
async def test_channels_apart_can_change_their_rate_but_not_their_number(
    start_server: StartServer, audio: tuple[str, int, int], is_taken: bool
) -> None:
    route = Route("/apart", (), lambda _, endpointing: Apart(endpointing), CHUNKS.refusal, CHUNKS.shown_keys)
    client = await start_server(routes=(native.ROUTE, route))
    socket = await client.ws_connect("/apart")
    await socket.send_json(audio)
    if not is_taken:
        assert await read_event(socket) == {"error": "a container and channels apart are fixed"}
    await socket.send_bytes(bytes(32_000))
    assert await read_event(socket) == {"partial": ""}
    assert sessions_of(client).received_ms == (1000 if is_taken else 500)
    await socket.close()


async def test_text_is_only_appended_to_and_silence_ends_no_turn(client: Client) -> None:
    socket = await client.ws_connect("/deltas", protocols=["other", "deltas"])
    assert socket.protocol == "deltas"
    for message in ('"open"', SPEECH + PAUSE, SPEECH + PAUSE, '"commit"', '"bye"'):
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
    messages = [message for message in await read_all(socket) if not str(message).startswith("@")]
    assert messages[-2:] == [b".", "committed"]
    assert messages.count(b".") == 1
    assert all(message.startswith("+") for message in messages[:-2])
    assert "".join(message[1:] for message in messages[:-2])
    assert socket.close_code == WSCloseCode.OK


class WithoutPartials(Deltas):
    """Sends no text before the end of a turn, however slow the machine is."""

    def __init__(self, endpointing: EndpointingConfig) -> None:
        super().__init__(endpointing, manual=True)
        self._options = replace(self._options, partials=False)


async def test_audio_that_is_cleared_gets_no_text(start_server: StartServer) -> None:
    route = Route("/finals", (), lambda _, endpointing: WithoutPartials(endpointing), DELTAS.refusal, DELTAS.shown_keys)
    client = await start_server(routes=(native.ROUTE, route))
    socket = await client.ws_connect("/finals")
    for message in ('"open"', SPEECH + PAUSE, '"clear"', PAUSE, '"bye"'):
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
    messages = [message for message in await read_all(socket) if not str(message).startswith("@")]
    assert messages == [b"."]


async def test_the_dialect_is_ticked_with_the_time_of_the_stream(start_server: StartServer) -> None:
    client = await start_server(routes=ROUTES, live=LiveConfig(session=SessionLimits(tick_s=0.02)))
    socket = await client.ws_connect("/deltas")
    await socket.send_str('"open"')
    assert (await socket.receive_str(timeout=20)).startswith("@")
    await socket.close()


async def test_readers_read_such_a_session_like_any_other(client: Client) -> None:
    socket = await client.ws_connect("/chunks")
    await eventually(lambda: sessions_of(client)._sessions)
    (session,) = sessions_of(client)._sessions
    reader = await client.ws_connect(f"/v1/sessions/{session}/watch")
    assert (await read_event(reader))["type"] == "snapshot"
    await socket.send_bytes(SPEECH)
    await socket.send_str('"eof"')
    assert [event["type"] for event in await read_to_the_close(reader)][-2:] == ["final", "end"]
    await socket.close()


async def test_a_lost_connection_ends_the_session_which_is_not_stored_for_a_restart(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = tmp_path / "transcripts.db"
    client = await start_server(routes=ROUTES, store=StoreConfig(str(path)))
    socket = await client.ws_connect("/chunks")
    await socket.send_bytes(SPEECH)
    await read_event(socket)
    socket._writer.transport.abort()
    await eventually(lambda: len(sessions_of(client)) == 0)
    assert sessions_of(client).n_parked == 0
    await client.close()
    with opened(path) as database:
        assert database.execute("SELECT count(*) FROM resumption").fetchone() == (0,)


@pytest.mark.parametrize(
    ("path", "messages", "answer", "close_code"),
    [
        ("/chunks", ["no JSON"], '{"error": "invalid_message"}', 4000),
        ("/deltas", [b"early"], "!wrong_state", 4000),
        ("/deltas", ['"commit"'], "!invalid_message", 4000),
        ("/deltas", ['"open"', bytes(100_001)], "!message_too_big", 4000),
    ],
)
async def test_a_fatal_error_is_sent_and_closed_in_the_protocols_own_form(
    client: Client, path: str, messages: list[str | bytes], answer: str, close_code: int
) -> None:
    socket = await client.ws_connect(path)
    for message in messages:
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
    assert answer in await read_all(socket)
    assert socket.close_code == close_code


async def test_a_mistake_that_is_not_fatal_costs_nothing(client: Client) -> None:
    socket = await client.ws_connect("/deltas")
    for message in ('"open"', '"sing"', '"bye"'):
        await socket.send_str(message)
    assert "!invalid_message" in await read_all(socket)
    assert socket.close_code == WSCloseCode.OK


async def test_a_drain_closes_with_the_protocols_code(client: Client) -> None:
    socket = await client.ws_connect("/deltas")
    await socket.send_str('"open"')
    await eventually(lambda: len(sessions_of(client)._sessions) == 1)
    draining = asyncio.ensure_future(sessions_of(client).drain())
    await read_all(socket)
    assert socket.close_code == 1012
    await draining


async def test_a_client_that_never_opens_is_closed(start_server: StartServer) -> None:
    client = await start_server(routes=ROUTES, live=LiveConfig(socket=SocketLimits(start_timeout_s=0.1)))
    socket = await client.ws_connect("/deltas")
    assert await read_all(socket) == ["!start_timeout"]


async def test_refusals_before_the_upgrade_are_the_protocols(client: Client) -> None:
    answer = await client.get("/chunks", params={"forbidden": "1"})
    assert (answer.status, await answer.text(), answer.headers["X-Refused"]) == (
        418,
        "no: unauthorized",
        "unauthorized",
    )
    assert (await (await client.get("/chunks")).text()) == "no: upgrade_required"


async def test_the_operators_token_is_shown_as_the_protocol_does(start_server: StartServer) -> None:
    client = await start_server(routes=ROUTES, token="secret")
    socket = await client.ws_connect("/chunks", params={"key": "secret"})
    await socket.close()
    for params in ({}, {"key": "wrong"}):
        with pytest.raises(WSServerHandshakeError, match="418"):
            await client.ws_connect("/chunks", params=params, headers={"Authorization": "Bearer secret"})
