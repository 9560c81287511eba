"""Two people on two channels, over real sockets: each has captions of their own."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse

from livecaption.client import StreamSettings, connect
from livecaption.events import Final
from livecaption.store.config import StoreConfig
from tests.live.test_connection import drop, resume
from tests.support.containers import wav
from tests.support.serving import Client, StartServer, read_event, read_to_the_close, read_until, start_stream
from tests.support.speech import pcm_s16le, sound

LEFT = sound("silence 300ms, speech 2200ms, silence 1000ms")
RIGHT = sound("silence 1300ms, speech 600ms, silence 1600ms")
TOGETHER = pcm_s16le(np.stack((LEFT, RIGHT), axis=1))
APART: dict[str, Any] = {"channels": 2, "channel_mode": "separate", "endpointing": {"silence_ms": 500}}

UTTERANCES = [(0, 300, 2500), (1, 1300, 1900)]
"""The channel, the start and the end of what is said."""


async def spoken_to_the_end(socket: ClientWebSocketResponse, data: bytes = TOGETHER) -> list[dict[str, Any]]:
    await socket.send_bytes(data)
    await socket.send_json({"type": "stop"})
    return await read_to_the_close(socket)


def of(kind: str, events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def check_captions(captions: list[dict[str, Any]]) -> None:
    by_channel = sorted(captions, key=lambda caption: caption["channel"])
    assert len(by_channel) == len(UTTERANCES)
    for caption, (channel, start_ms, end_ms) in zip(by_channel, UTTERANCES, strict=True):
        assert caption["channel"] == channel
        assert abs(caption["start_ms"] - start_ms) < 100
        assert abs(caption["end_ms"] - end_ms) < 200
        assert caption["text"]


async def test_each_channel_has_finals_with_its_number(client: Client) -> None:
    events = await spoken_to_the_end(await start_stream(client, partials=False, **APART))
    assert [event["channel"] for event in of("speech_start", events)] == [0, 1]
    assert sorted(event["utterance"] for event in of("final", events)) == [0, 1]
    check_captions(of("final", events))
    assert (events[-1]["utterances"], events[-1]["received_ms"]) == (2, 3500)


async def test_mixed_channels_have_one_caption_without_a_number(client: Client) -> None:
    events = await spoken_to_the_end(await start_stream(client, channels=2))
    assert len(of("final", events)) == 1
    assert not any("channel" in event for event in events)


async def test_both_channels_have_partials_at_the_same_time(client: Client) -> None:
    """A reader that comes then gets both."""
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", **APART})
    session = (await read_event(socket))["session"]
    await socket.send_bytes(TOGETHER[: 2 * 2 * 16 * 2400])
    seen: dict[int, int] = {}
    while seen.keys() != {0, 1}:
        partial = await read_until(socket, "partial")
        seen[partial["channel"]] = partial["utterance"]
    reader = await client.ws_connect(f"/v1/sessions/{session}/watch")
    snapshot = await read_event(reader)
    assert {partial["channel"]: partial["utterance"] for partial in snapshot["partials"]} == seen
    assert snapshot["partial"] == snapshot["partials"][-1]
    await socket.send_json({"type": "stop"})
    assert {event["channel"] for event in of("final", await read_to_the_close(socket))} == {0, 1}
    assert {event["channel"] for event in of("final", await read_to_the_close(reader))} == {0, 1}


@pytest.mark.parametrize("channels", [None, 2, 5])
async def test_the_channels_of_a_container_are_kept_apart(client: Client, channels: int | None) -> None:
    options = {"encoding": "auto", "channel_mode": "separate", "partials": False}
    socket = await start_stream(client, **options, **({} if channels is None else {"channels": channels}))
    check_captions(of("final", await spoken_to_the_end(socket, wav(TOGETHER, n_channels=2))))


async def test_the_client_keeps_the_channels_of_a_stereo_container_apart_without_their_number(client: Client) -> None:
    url = str(client.make_url("/"))
    settings = StreamSettings(encoding="auto", channel_mode="separate", partials=False)
    async with connect(url, settings) as stream:
        await stream.send_audio(wav(TOGETHER, n_channels=2))
        await stream.stop()
        finals = [event async for event in stream if isinstance(event, Final)]
    assert sorted(final.channel for final in finals if final.channel is not None) == [0, 1]


async def test_a_container_with_more_channels_than_asked_for_is_refused(client: Client) -> None:
    socket = await start_stream(client, encoding="auto", channel_mode="separate", channels=1)
    await socket.send_bytes(wav(TOGETHER, n_channels=2))
    events = await read_to_the_close(socket)
    assert [event["code"] for event in of("error", events)] == ["unsupported_channels"]
    assert socket.close_code == 1008


async def test_channels_are_kept_apart_if_the_address_asks_for_it(client: Client) -> None:
    query = {"channel_mode": "separate", "channels": "2", "partials": "false", "silence_ms": "500"}
    socket = await client.ws_connect("/v1/stream", params=query)
    check_captions(of("final", await spoken_to_the_end(socket)))


async def test_a_flush_ends_the_utterances_of_both_channels_and_is_answered_once(client: Client) -> None:
    socket = await start_stream(client, partials=False, **APART)
    await socket.send_bytes(TOGETHER[: 2 * 2 * 16 * 2400])
    await socket.send_json({"type": "flush", "id": 1})
    await socket.send_json({"type": "stop"})
    kinds = [event["type"] for event in await read_to_the_close(socket)]
    assert [kind for kind in kinds if kind in ("final", "flushed")] == ["final", "final", "flushed"]


async def test_no_channel_loses_a_word_with_the_connection(client: Client) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "partials": False, **APART})
    ready = await read_event(socket)
    await socket.send_bytes(TOGETHER[:100_001])
    last = await read_until(socket, "speech_start")
    await drop(client, socket)
    socket = await resume(client, ready, last["seq"])
    received_ms = (await read_event(socket))["received_ms"]
    events = [last, *await spoken_to_the_end(socket, TOGETHER[received_ms * 64 :])]
    check_captions(of("final", events))
    assert sorted(event["utterance"] for event in of("speech_start", events)) == [0, 1]


async def test_transcripts_name_the_channels(start_server: StartServer, tmp_path: Path) -> None:
    """The final of the right channel is sent first. All formats have the left one first, which began before."""
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "partials": False, **APART})
    session = (await read_event(socket))["session"]
    await spoken_to_the_end(socket)
    texts = {}
    for name in ("json", "txt", "vtt", "srt"):
        async with client.get(f"/v1/sessions/{session}/transcript.{name}") as response:
            texts[name] = await response.text()
    captions = json.loads(texts["json"])["captions"]
    check_captions(captions)
    assert [caption["channel"] for caption in captions] == [0, 1]
    left, right = (caption["text"] for caption in captions)
    assert texts["txt"] == f"Channel 1: {left}\nChannel 2: {right}\n"
    assert [line[:13] for line in texts["vtt"].split("\n") if line.startswith("<v")] == [
        "<v Channel 1>",
        "<v Channel 2>",
    ]
    assert [line[:11] for line in texts["srt"].split("\n") if line.startswith("C")] == ["Channel 1: ", "Channel 2: "]
