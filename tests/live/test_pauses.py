"""Publishers that stop sending audio without a `stop`, and go on later. Row 82."""

import asyncio
import time
from pathlib import Path

import pytest

from livecaption.live.config import AudioLimits, LiveConfig, SessionLimits
from livecaption.store.config import StoreConfig
from tests.support.serving import (
    SPEECH,
    Client,
    StartServer,
    read_event,
    read_to_the_close,
    read_until,
    start_stream,
)
from tests.support.speech import pcm_s16le, sound

PATIENCE_S = 0.6
TRAILING_SILENCE = pcm_s16le(sound("silence 600ms"))
ABNORMAL = 1011


def patient_for(in_speech_s: float) -> LiveConfig:
    return LiveConfig(session=SessionLimits(audio=AudioLimits(patience_in_speech_s=in_speech_s)))


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    return await start_server(live=patient_for(PATIENCE_S))


async def test_an_utterance_ends_where_audio_stops_in_a_word_and_the_stream_goes_on(client: Client) -> None:
    socket = await start_stream(client)
    await socket.send_bytes(SPEECH)
    ended = await read_until(socket, "speech_end")
    assert (ended["reason"], abs(ended["end_ms"] - 1400) < 100) == ("silence", True)
    assert (await read_until(socket, "final"))["text"]
    await socket.send_bytes(SPEECH)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    [final] = [event for event in events if event["type"] == "final"]
    assert (final["utterance"], events[-1]["reason"]) == (1, "stop")


async def test_silence_that_has_begun_needs_no_audio_to_end_an_utterance(start_server: StartServer) -> None:
    client = await start_server(live=patient_for(3600.0))
    socket = await start_stream(client, endpointing={"silence_ms": 1000})
    await socket.send_bytes(SPEECH + TRAILING_SILENCE)
    assert (await read_until(socket, "speech_end"))["reason"] == "silence"


async def test_captions_after_a_pause_have_the_time_on_the_wall_and_acknowledgements_that_of_the_audio(
    start_server: StartServer, tmp_path: Path
) -> None:
    client = await start_server(live=patient_for(PATIENCE_S), store=StoreConfig(str(tmp_path / "transcripts.db")))
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "words": True})
    session = (await read_event(socket))["session"]
    await socket.send_bytes(SPEECH)
    began_s = time.monotonic()
    await read_until(socket, "final")
    await asyncio.sleep(1.0)
    paused_ms = (time.monotonic() - began_s) * 1000
    await socket.send_bytes(SPEECH)
    start = await read_until(socket, "speech_start")
    # A message comes when its end is recorded. So this one begins when the first one came, and after the pause.
    assert abs(start["start_ms"] - (paused_ms + 200)) < 500
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    [final] = [event for event in events if event["type"] == "final"]
    assert final["start_ms"] == start["start_ms"]
    assert final["words"][0]["start_ms"] >= final["start_ms"] - 400
    received = [event["received_ms"] for event in events if event["type"] in ("ack", "end")]
    assert received[-1] == 2 * len(SPEECH) // 32
    response = await client.get(f"/v1/sessions/{session}/transcript.vtt")
    vtt = await response.text()
    assert f"00:00:{final['start_ms'] // 1000:02}.{final['start_ms'] % 1000:03} -->" in vtt


async def test_audio_that_comes_late_at_once_is_no_pause(start_server: StartServer) -> None:
    client = await start_server(live=patient_for(3600.0))
    socket = await start_stream(client, partials=False)
    speech = pcm_s16le(sound("silence 200ms, speech 2400ms"))
    half = len(speech) // 2
    await socket.send_bytes(speech[:half])
    await read_until(socket, "ack")
    await socket.send_bytes(speech[half:])
    await socket.send_json({"type": "stop"})
    finals = [event for event in await read_to_the_close(socket) if event["type"] == "final"]
    assert [(abs(final["start_ms"] - 200) < 100, abs(final["end_ms"] - 2600) < 100) for final in finals] == [
        (True, True)
    ]


async def test_a_publisher_whose_connection_is_lost_is_not_in_a_pause(client: Client) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    ready = await read_event(socket)
    await socket.send_bytes(SPEECH)
    await read_until(socket, "speech_start")
    await socket.close(code=ABNORMAL)
    await asyncio.sleep(2 * PATIENCE_S)
    again = await client.ws_connect(f"/v1/stream?resume={ready['session']}")
    claim = {"session": ready["session"], "token": ready["resume_token"], "last_seq": 1}
    await again.send_json({"type": "start", "resume": claim})
    assert (await read_event(again))["received_ms"] == len(SPEECH) // 32
    await again.send_bytes(SPEECH[6400:])
    await again.send_json({"type": "stop"})
    finals = [event for event in await read_to_the_close(again) if event["type"] == "final"]
    assert [final["utterance"] for final in finals] == [0]
