"""One publisher's WebSocket, as its client sees it."""

import asyncio
import gc
import io
import os
import signal
import struct
import time
import wave
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import psutil
import pytest
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, WSServerHandshakeError

from livecaption.live.config import AudioLimits, LiveConfig, SessionLimits, SocketLimits
from livecaption.live.dialects.native import LIMITS
from livecaption.server.services import SERVICES
from tests.support.containers import flac_of_silence
from tests.support.eventually import eventually
from tests.support.serving import (
    PAUSE,
    SPEECH,
    Client,
    StartServer,
    read_event,
    read_to_the_close,
    read_until,
    start_stream,
)
from tests.support.speech import pcm_s16le, sound


def with_audio(**limits: float) -> LiveConfig:
    """Return the settings of a server with these limits of audio."""
    return LiveConfig(session=SessionLimits(audio=AudioLimits(**limits)))


async def test_a_stream_is_ready_speaks_and_ends_with_everything_numbered(client: Client) -> None:
    socket = await start_stream(client)
    await socket.send_bytes(SPEECH + PAUSE)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert [event["seq"] for event in events] == list(range(2, len(events) + 2))
    kinds = [event["type"] for event in events if event["type"] not in ("ack", "partial")]
    assert kinds == ["speech_start", "speech_end", "final", "end"]
    end = events[-1]
    assert end["received_ms"] == (len(SPEECH) + len(PAUSE)) // 32
    assert (end["utterances"], end["reason"]) == (1, "stop")
    assert socket.close_code == WSCloseCode.OK


async def test_ready_names_session_protocol_model_and_language(client: Client) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "language": "de"})
    ready = await read_event(socket)
    assert (ready["type"], ready["seq"], ready["protocol"], ready["language"]) == ("ready", 1, 1, "de")
    assert len(ready["session"]) >= 20
    assert ready["session"] != ready["resume_token"]


async def test_each_speech_start_is_followed_by_exactly_one_final_in_order(client: Client) -> None:
    socket = await start_stream(client)
    await socket.send_bytes((SPEECH + PAUSE) * 4)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    started = [event["utterance"] for event in events if event["type"] == "speech_start"]
    assert started == [0, 1, 2, 3]
    assert [event["utterance"] for event in events if event["type"] == "final"] == started


async def test_partials_grow_while_somebody_speaks(client: Client) -> None:
    socket = await start_stream(client)
    for _ in range(8):
        await socket.send_bytes(SPEECH)
        await asyncio.sleep(0)
    first = await read_until(socket, "partial")
    assert first["revision"] == 0
    assert first["text"].startswith(first["stable"])
    assert first["text"]


@pytest.mark.parametrize("encoding", ["pcm_s16le", "auto"])
async def test_a_flush_ends_the_utterance_and_is_answered_after_its_final(client: Client, encoding: str) -> None:
    socket = await start_stream(client, encoding=encoding, partials=False)
    speaks = sound("silence 200ms, speech 1200ms", 44_100)
    await socket.send_bytes(SPEECH if encoding == "pcm_s16le" else _wav(speaks, 44_100))
    await socket.send_json({"type": "flush", "id": "now"})
    kinds = []
    while (event := await read_event(socket))["type"] != "flushed":
        kinds.append(event["type"])
    assert event["id"] == "now"
    assert [kind for kind in kinds if kind != "ack"] == ["speech_start", "speech_end", "final"]


async def test_a_ping_is_answered_with_its_id(client: Client) -> None:
    socket = await start_stream(client)
    await socket.send_json({"type": "ping", "id": 42})
    assert (await read_until(socket, "pong"))["id"] == 42


async def test_audio_is_acknowledged_at_each_tick(start_server: StartServer) -> None:
    socket = await start_stream(await start_server(live=LiveConfig(session=SessionLimits(tick_s=0.05))))
    await socket.send_bytes(PAUSE)
    assert (await read_until(socket, "ack"))["received_ms"] == len(PAUSE) // 32


async def test_words_come_only_where_they_were_asked_for(client: Client) -> None:
    for words in (True, False):
        socket = await start_stream(client, words=words)
        await socket.send_bytes(SPEECH + PAUSE)
        final = await read_until(socket, "final")
        assert ("words" in final) is words
        await socket.close()


@pytest.mark.parametrize(
    ("encoding", "sample_rate", "channels"),
    [
        ("pcm_s16le", 48_000, 2),
        ("pcm_f32le", 44_100, 1),
        ("mulaw", 8_000, 1),
        ("alaw", 8_000, 1),
        ("pcm_s24le", 48_000, 2),
        ("pcm_s32le", 16_000, 1),
        ("pcm_f64le", 44_100, 1),
        ("pcm_s16le", 96_000, 8),
    ],
)
async def test_every_encoding_and_rate_gives_the_speech_in_it(
    client: Client, encoding: str, sample_rate: int, channels: int
) -> None:
    samples = sound("silence 400ms, speech 1200ms, silence 800ms", sample_rate)
    frames = np.repeat(samples, channels)
    data = {
        "pcm_s16le": (frames * 32767).astype("<i2").tobytes(),
        "pcm_f32le": frames.astype("<f4").tobytes(),
        "mulaw": _companded(frames, mu=True),
        "alaw": _companded(frames, mu=False),
        "pcm_s24le": (frames * (2**31 - 256)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes(),
        "pcm_s32le": (frames * (2**31 - 256)).astype("<i4").tobytes(),
        "pcm_f64le": frames.astype("<f8").tobytes(),
    }[encoding]
    socket = await start_stream(client, encoding=encoding, sample_rate=sample_rate, channels=channels)
    for start in range(0, len(data), 64_001):  # odd, so that samples are cut
        await socket.send_bytes(data[start : start + 64_001])
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    (start_event,) = [event for event in events if event["type"] == "speech_start"]
    assert abs(start_event["start_ms"] - 400) < 150
    assert abs(events[-1]["received_ms"] - 2400) < 30


async def test_a_container_is_decoded_while_it_streams(client: Client) -> None:
    container = _wav(sound("silence 400ms, speech 1200ms, silence 800ms", 44_100), 44_100)
    socket = await start_stream(client, encoding="auto")
    half = len(container) // 2
    await socket.send_bytes(container[:half])
    assert (await read_until(socket, "speech_start"))["utterance"] == 0
    await socket.send_bytes(container[half:])
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert [event["type"] for event in events if event["type"] in ("final", "end")] == ["final", "end"]
    assert abs(events[-1]["received_ms"] - 2400) < 30
    assert socket.close_code == WSCloseCode.OK


async def test_a_stop_that_was_on_its_way_when_the_server_began_to_stop_is_no_mistake(
    start_server: StartServer,
) -> None:
    client = await start_server()
    socket = await start_stream(client, prompt="script: delay 0.5", partials=False)
    await socket.send_bytes(SPEECH)
    sessions = client.app[SERVICES].sessions
    await eventually(lambda: sessions.received_ms > 0)
    draining = asyncio.ensure_future(sessions.drain())
    await eventually(lambda: sessions.draining)
    await socket.send_json({"type": "flush"})
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    await draining
    assert [event["type"] for event in events if event["type"] in ("error", "final", "end")] == ["final", "end"]
    assert events[-1]["reason"] == "draining"


@pytest.mark.parametrize("leaves", ["stop", "close"])
async def test_a_drain_waits_no_longer_for_a_container_whose_client_is_done(
    start_server: StartServer, leaves: str
) -> None:
    """It is ending already, and would take minutes or ten seconds more."""
    client = await start_server(live=with_audio(last_decoding_draining_s=0.2))
    bomb = await start_stream(client, encoding="auto")
    await bomb.send_bytes(flac_of_silence(1000))
    if leaves == "stop":
        await bomb.send_json({"type": "stop"})
    reading = asyncio.ensure_future(read_to_the_close(bomb) if leaves == "stop" else bomb.close())
    sessions = client.app[SERVICES].sessions
    await eventually(lambda: sessions.received_ms >= AudioLimits().burst_s * 1000)
    async with asyncio.timeout(0.2 + 2):
        await sessions.drain()
    assert not sessions.overran
    await reading


async def test_a_container_that_unfolds_to_hours_is_taken_no_faster_than_allowed(start_server: StartServer) -> None:
    """And hurts nobody else: 27 minutes of silence in 3 KB, with the speech of another stream beside it."""
    client = await start_server(live=with_audio(last_decoding_draining_s=0.2))
    other = await start_stream(client, partials=False)
    bomb = await start_stream(client, encoding="auto")
    await bomb.send_bytes(flac_of_silence(200))
    taken = client.app[SERVICES].sessions
    await eventually(lambda: taken.received_ms >= AudioLimits().burst_s * 1000)
    await other.send_bytes(SPEECH)
    await other.send_json({"type": "stop"})
    events = await read_to_the_close(other)
    assert [event["type"] for event in events if event["type"] in ("error", "final", "end")] == ["final", "end"]
    assert taken.received_ms < 27 * 60_000
    async with asyncio.timeout(0.2 + 3):
        _, events = await asyncio.gather(taken.drain(), read_to_the_close(bomb))
    assert (events[-1]["type"], events[-1]["reason"], bomb.close_code) == ("end", "draining", 1001)


async def test_a_flush_is_answered_also_where_the_bytes_before_it_are_no_container(client: Client) -> None:
    socket = await start_stream(client, encoding="auto")
    await socket.send_bytes(bytes(range(256)) * 16)
    await socket.send_json({"type": "flush", "id": 7})
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert [event["type"] for event in events if event["type"] != "ack"] == ["flushed", "error", "end"]


async def test_a_decoder_that_dies_costs_its_own_stream_and_no_caption_of_it(client: Client) -> None:
    """Audio that was decoded gets its finals."""
    container = _wav(sound("silence 400ms, speech 1200ms, silence 1200ms, speech 1200ms", 16_000), 16_000)
    socket = await start_stream(client, encoding="auto", partials=False)
    await socket.send_bytes(container)
    await read_until(socket, "final")
    killed = client.app[SERVICES].decoders.pids  # with the spare one
    for pid in killed:
        os.kill(pid, signal.SIGSEGV)
    events = await read_to_the_close(socket)
    await eventually(lambda: not {*killed} & {*client.app[SERVICES].decoders.pids})
    kinds = [event["type"] for event in events if event["type"] in ("error", "final", "end")]
    assert kinds == ["error", "final", "end"]
    (error,) = [event for event in events if event["type"] == "error"]
    assert (error["code"], error["fatal"], socket.close_code) == ("invalid_container", True, 1008)
    assert all(event["text"] for event in events if event["type"] == "final")
    another = await start_stream(client, encoding="auto")
    await another.send_bytes(container)
    await another.send_json({"type": "stop"})
    assert len([event for event in await read_to_the_close(another) if event["type"] == "final"]) == 2


async def test_a_large_message_is_taken_in_pieces_between_which_others_have_their_turn(
    start_server: StartServer,
) -> None:
    """The 131 s of one message take 0.2 s of computing; nobody waits for all of them."""
    client = await start_server()
    socket = await start_stream(client, encoding="mulaw", sample_rate=8000)
    sessions, seen = client.app[SERVICES].sessions, set()
    await socket.send_bytes(b"\xff" * LIMITS.max_binary_bytes)
    while sessions.received_ms < 131_000:
        await asyncio.sleep(0)
        seen.add(sessions.received_ms)
    assert len(seen) >= 32


async def test_audio_is_taken_no_faster_than_allowed(start_server: StartServer) -> None:
    socket = await start_stream(await start_server(live=with_audio(burst_s=1.0, audio_s_per_s=10.0)))
    began_s = time.monotonic()
    await socket.send_bytes(bytes(32_000 * 5))
    await socket.send_json({"type": "stop"})
    assert (await read_to_the_close(socket))[-1]["received_ms"] == 5000
    assert time.monotonic() - began_s > 0.3


async def test_an_empty_binary_message_is_audio_of_no_length(client: Client) -> None:
    socket = await start_stream(client)
    await socket.send_bytes(b"")
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert events[-1]["type"] == "end"
    assert events[-1]["received_ms"] == 0


# Bad input: (what the client does, the code of the error event, the close code)

Misdeed = Callable[[ClientWebSocketResponse], Awaitable[Any]]


def sends(*messages: str | bytes) -> Misdeed:
    async def send(socket: ClientWebSocketResponse) -> None:
        for message in messages:
            await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))

    return send


START = '{"type": "start"}'
FATAL: dict[str, tuple[Misdeed, str, int]] = {
    "not JSON": (sends("hello"), "invalid_message", 1008),
    "JSON that is no object": (sends("[1]"), "invalid_message", 1008),
    "deep JSON": (sends("[" * 10_000), "invalid_message", 1008),
    "another first message": (sends('{"type": "stop"}'), "wrong_state", 1008),
    "unknown first message": (sends('{"type": "hello"}'), "unknown_type", 1008),
    "audio before start": (sends(SPEECH), "wrong_state", 1008),
    "much audio before start": (sends(bytes(LIMITS.max_binary_bytes + 1)), "wrong_state", 1008),
    "unknown encoding": (sends('{"type": "start", "encoding": "opus"}'), "unsupported_encoding", 1008),
    "sample rate 0": (sends('{"type": "start", "sample_rate": 0}'), "unsupported_sample_rate", 1008),
    "sample rate 10^9": (sends('{"type": "start", "sample_rate": 1000000000}'), "unsupported_sample_rate", 1008),
    "sample rate abc": (sends('{"type": "start", "sample_rate": "abc"}'), "unsupported_sample_rate", 1008),
    "9 channels": (sends('{"type": "start", "channels": 9}'), "unsupported_channels", 1008),
    "unknown language": (sends('{"type": "start", "language": "tlh"}'), "unsupported_language", 1008),
    "a text of 1 MB": (sends(START, "x" * 1_000_000), "message_too_big", 1009),
    "binary of a byte too many": (sends(START, bytes(LIMITS.max_binary_bytes + 1)), "message_too_big", 1009),
    "a container that is not one": (
        sends('{"type": "start", "encoding": "auto"}', bytes(range(256)) * 800, '{"type": "stop"}'),
        "invalid_container",
        1008,
    ),
    "twenty bad messages": (sends(START, *["{}"] * 20), "unknown_type", 1008),
}


@pytest.mark.parametrize("misdeed", FATAL.values(), ids=FATAL.keys())
async def test_a_fatal_error_is_sent_and_closed_with_its_code_and_hurts_nobody_else(
    client: Client, misdeed: tuple[Misdeed, str, int]
) -> None:
    act, code, close_code = misdeed
    bystander = await start_stream(client, partials=False)
    await bystander.send_bytes(SPEECH)
    socket = await client.ws_connect("/v1/stream", max_msg_size=0)
    await act(socket)
    events = await read_to_the_close(socket)
    errors = [event for event in events if event["type"] == "error" and event["fatal"]]
    assert [event["code"] for event in errors] == [code]
    assert socket.close_code == close_code
    await bystander.send_json({"type": "stop"})
    events = await read_to_the_close(bystander)
    assert [event["type"] for event in events if event["type"] in ("error", "final", "end")] == ["final", "end"]
    await eventually(lambda: len(client.app[SERVICES].sessions) == 0)


async def test_a_message_that_is_too_large_to_be_read_ends_the_session(client: Client) -> None:
    """No error can be sent: the rest of the message is in the way. It must not wait for its publisher either."""
    socket = await start_stream(client)
    with suppress(ConnectionError):
        await socket.send_bytes(bytes(5_000_000))
    sessions = client.app[SERVICES].sessions
    await eventually(lambda: len(sessions) == 0)
    await socket.close()


MILD: dict[str, tuple[tuple[str | bytes, ...], str]] = {
    "not JSON": (("hello",), "invalid_message"),
    "an unknown type": (('{"type": "hello"}',), "unknown_type"),
    "start twice": ((START,), "wrong_state"),
    "a wrong id": (('{"type": "ping", "id": []}',), "invalid_message"),
}


@pytest.mark.parametrize(("messages", "code"), MILD.values(), ids=MILD.keys())
async def test_a_mistake_within_a_stream_is_reported_and_the_stream_goes_on(
    client: Client, messages: tuple[str | bytes, ...], code: str
) -> None:
    socket = await start_stream(client, partials=False)
    await socket.send_bytes(SPEECH)
    await sends(*messages)(socket)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert [(event["code"], event["fatal"]) for event in events if event["type"] == "error"] == [(code, False)]
    assert [event["type"] for event in events if event["type"] in ("final", "end")] == ["final", "end"]
    assert socket.close_code == WSCloseCode.OK


async def test_stop_twice_and_audio_after_it_are_reported_once_each_and_cost_no_final(
    start_server: StartServer,
) -> None:
    client = await start_server("delay 0.3")
    socket = await start_stream(client, partials=False)
    await sends(SPEECH, '{"type": "stop"}', '{"type": "stop"}', SPEECH, SPEECH)(socket)
    events = await read_to_the_close(socket)
    errors = [(event["code"], event["fatal"]) for event in events if event["type"] == "error"]
    assert errors == [("wrong_state", False), ("wrong_state", False)]
    assert [event["type"] for event in events if event["type"] in ("final", "end")] == ["final", "end"]


async def test_half_a_sample_at_the_end_of_a_stream_is_reported_and_costs_nothing_else(client: Client) -> None:
    socket = await start_stream(client, partials=False)
    await sends(SPEECH + b"\x01", '{"type": "stop"}')(socket)
    events = await read_to_the_close(socket)
    kinds = [event.get("code", event["type"]) for event in events if event["type"] not in ("ack", "speech_start")]
    assert kinds == ["truncated_audio", "speech_end", "final", "end"]


async def test_nan_and_infinite_samples_are_reported_once_and_taken_as_silence(client: Client) -> None:
    socket = await start_stream(client, encoding="pcm_f32le")
    rubbish = struct.pack("<3f", float("nan"), float("inf"), float("-inf")) * 1000
    await sends(rubbish, rubbish, '{"type": "stop"}')(socket)
    events = await read_to_the_close(socket)
    assert [event.get("code", event["type"]) for event in events] == ["non_finite_audio", "ack", "end"]


async def test_ready_has_how_many_hotwords_are_used(client: Client) -> None:
    for hotwords, expected in ((["Kubernetes"], {"given": 1, "used": 1}), ([], None)):
        socket = await client.ws_connect("/v1/stream")
        await socket.send_json({"type": "start", "hotwords": hotwords})
        assert (await read_event(socket)).get("hotwords") == expected
    await socket.close()
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "hotwords": [f"Kubernetes-{number}" for number in range(100)]})
    told = (await read_event(socket))["hotwords"]
    assert told["given"] == 100
    assert 5 < told["used"] < 30


async def test_a_client_that_only_sends_a_file_is_captioned_by_the_options_of_the_address(client: Client) -> None:
    socket = await client.ws_connect("/v1/stream?encoding=auto&language=German&words=true")
    assert (await read_event(socket))["language"] == "de"
    await socket.send_bytes(_wav(sound("speech 1200ms, silence 1000ms"), 16_000))
    await socket.send_json({"type": "stop"})
    [final] = [event for event in await read_to_the_close(socket) if event["type"] == "final"]
    assert final["text"]
    assert final["words"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("encoding=opus", "unsupported_encoding"),
        ("words=maybe", "invalid_message"),
        ("channels=9", "unsupported_channels"),
        ("language=en,tlh", "unsupported_language"),
        ("translate=fr", "unsupported_translation"),
        ("speakers=true", "unsupported_speakers"),
    ],
)
async def test_a_wrong_option_in_the_address_is_refused_in_http(client: Client, query: str, code: str) -> None:
    response = await client.get(f"/v1/stream?{query}")
    assert response.status == 400
    assert (await response.json())["code"] == code
    with pytest.raises(WSServerHandshakeError, match="400"):
        await client.ws_connect(f"/v1/stream?{query}")


async def test_samples_of_another_encoding_are_reported_once_and_captions_go_on(client: Client) -> None:
    socket = await start_stream(client)
    swapped = np.frombuffer(pcm_s16le(sound("speech 2000ms")), "<i2").byteswap().tobytes()
    await socket.send_bytes(swapped)
    error = await read_until(socket, "error")
    assert (error["code"], error["fatal"]) == ("wrong_encoding", False)
    assert "big-endian 16-bit integers" in error["message"]
    await sends(swapped, SPEECH, PAUSE, '{"type": "stop"}')(socket)
    events = await read_to_the_close(socket)
    assert "error" not in [event["type"] for event in events]
    assert [event["type"] for event in events][-1] == "end"
    assert [event["text"] for event in events if event["type"] == "final"]


async def test_a_client_that_leaves_in_mid_utterance_leaves_nothing_behind(client: Client) -> None:
    process = psutil.Process()
    n_descriptors = None
    for _ in range(5):
        socket = await start_stream(client)
        await socket.send_bytes(SPEECH)
        await read_until(socket, "speech_start")
        transport = socket.get_extra_info("socket")
        assert transport is not None
        await socket.close()
        await eventually(lambda: len(client.app[SERVICES].sessions) == 0)
        gc.collect()
        n_descriptors = n_descriptors or process.num_fds()
    assert n_descriptors is not None
    await eventually(lambda: process.num_fds() <= n_descriptors)  # the first round is the warm-up


async def test_a_client_that_sends_nothing_is_closed(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(socket=SocketLimits(start_timeout_s=0.1)))
    socket = await client.ws_connect("/v1/stream")
    async with asyncio.timeout(5):
        (error,) = await read_to_the_close(socket)
    assert (error["code"], error["fatal"], socket.close_code) == ("start_timeout", True, 1008)


async def test_a_start_that_came_while_the_server_stood_still_counts(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(socket=SocketLimits(start_timeout_s=0.1)))
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    time.sleep(1.5)  # noqa: ASYNC251 - the server is in this process, and stands still
    assert (await read_event(socket))["type"] == "ready"
    await socket.close()


async def test_a_stream_that_falls_silent_is_closed_after_its_last_final(start_server: StartServer) -> None:
    client = await start_server(live=LiveConfig(session=SessionLimits(tick_s=0.05, idle_timeout_s=0.2)))
    socket = await start_stream(client, partials=False)
    await socket.send_bytes(SPEECH)
    events = await read_to_the_close(socket)
    kinds = [event.get("code", event["type"]) for event in events if event["type"] != "ack"]
    assert kinds == ["speech_start", "idle_timeout", "speech_end", "final", "end"]
    assert socket.close_code == 1008


async def test_an_utterance_that_the_engine_fails_on_is_reported_and_its_final_comes_empty(client: Client) -> None:
    socket = await start_stream(client, partials=False, prompt="script: fail")
    await sends(SPEECH + PAUSE, '{"type": "stop"}')(socket)
    events = await read_to_the_close(socket)
    kinds = [event.get("code", event["type"]) for event in events if event["type"] != "ack"]
    assert kinds == ["speech_start", "speech_end", "transcription_failed", "final", "end"]
    assert next(event for event in events if event["type"] == "final")["text"] == ""


async def test_a_stream_faster_than_real_time_is_read_as_fast_as_it_is_transcribed(start_server: StartServer) -> None:
    """A file sent at once gets every final, and the server holds no more than the backlog of it."""
    client = await start_server("delay 0.05", live=with_audio(max_backlog_ms=4_000))
    socket = await start_stream(client, partials=False)

    async def send() -> None:
        for _ in range(30):
            await socket.send_bytes(SPEECH + PAUSE)
        await socket.send_json({"type": "stop"})

    sending = asyncio.ensure_future(send())
    events = await read_to_the_close(socket)
    await sending
    assert [event["utterance"] for event in events if event["type"] == "final"] == list(range(30))


async def test_a_close_by_the_client_is_answered(client: Client) -> None:
    socket = await start_stream(client)
    await socket.close(code=WSCloseCode.OK)
    assert socket.close_code == WSCloseCode.OK
    assert (await socket.receive()).type is WSMsgType.CLOSED


def _wav(samples: np.ndarray[Any, np.dtype[np.float32]], sample_rate_hz: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate_hz)
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _companded(samples: np.ndarray[Any, np.dtype[np.float32]], *, mu: bool) -> bytes:
    """G.711 by search: for each sample the code whose value is nearest, as the decoder's table has it."""
    from livecaption.audio.formats import AudioFormat, PcmDecoder

    codes = bytes(range(256))
    values = PcmDecoder(AudioFormat("mulaw" if mu else "alaw", 8000, 1)).push(codes)
    order = np.argsort(values)
    nearest = order[np.clip(np.searchsorted(values[order], samples), 0, 255)]
    return nearest.astype(np.uint8).tobytes()
