"""Clients of Deepgram, unmodified: its SDK for Python, old and new, and LiveKit's plugin."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from livecaption.client import Endpointing, StreamSettings, connect
from livecaption.config import Config
from livecaption.events import Final
from livecaption.ipc.config import EngineConfig
from livecaption.server.lifecycle import running_server
from tests.support.foreign import client
from tests.support.speech import pcm_s16le, sound

deepgram = client("deepgram")
websockets = client("websockets")
livekit = client("livekit.plugins.deepgram")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""The SDK uses names of `websockets` that are old."""
AUDIO = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))
CHUNK_BYTES = 3200
OPTIONS: dict[str, Any] = {
    "model": "nova-3",
    "encoding": "linear16",
    "sample_rate": 16_000,
    "interim_results": True,
    "endpointing": 300,
    "utterance_end_ms": 1000,
    "vad_events": True,
}
CLIP = Path(__file__).parents[1] / "data" / "jfk.flac"


def environment(url: str) -> Any:
    """Return what a user of version 7 changes."""
    base, socket = url.rstrip("/"), url.rstrip("/").replace("http", "ws")
    return deepgram.DeepgramClientEnvironment(base=base, production=socket, agent=socket, agent_rest=base)


def talk(url: str, audio: bytes = AUDIO, **options: Any) -> list[Any]:
    """Send audio as a program with the SDK does, and return all messages up to the close."""
    messages: list[Any] = []
    sdk = deepgram.DeepgramClient(api_key="any", environment=environment(url))
    with sdk.listen.v1.connect(**OPTIONS | options) as connection:
        connection.on(deepgram.core.events.EventType.MESSAGE, messages.append)
        for start in range(0, len(audio), CHUNK_BYTES):
            connection.send_media(audio[start : start + CHUNK_BYTES])
        connection.send_keep_alive()
        connection.send_finalize()
        connection.send_close_stream()
        connection.start_listening()
    return messages


def transcripts(messages: list[Any]) -> list[str]:
    finals = [message for message in messages if message.type == "Results" and message.is_final]
    return [text for final in finals if (text := final.channel.alternatives[0].transcript)]


async def test_the_sdk_gets_results_and_metadata(url: str) -> None:
    messages = await asyncio.to_thread(talk, url, punctuate=True)
    assert [message.type for message in messages if message.type != "Results"] == ["SpeechStarted", "Metadata"]
    assert len(transcripts(messages)) == 1
    assert sum(bool(message.from_finalize) for message in messages if message.type == "Results") == 1
    assert all(isinstance(message, deepgram.core.unchecked_base_model.UncheckedBaseModel) for message in messages)
    assert messages[-1].duration == 2.4


async def test_the_sdk_with_asyncio_gets_an_utterance_end(url: str) -> None:
    sdk = deepgram.AsyncDeepgramClient(api_key="any", environment=environment(url))
    kinds = []
    async with sdk.listen.v1.connect(**OPTIONS) as connection:
        await connection.send_media(AUDIO)
        while "UtteranceEnd" not in kinds:
            await connection.send_media(bytes(CHUNK_BYTES))
            kinds.append((await asyncio.wait_for(connection.recv(), 20)).type)
        await connection.send_close_stream()
        while kinds[-1] != "Metadata":
            kinds.append((await asyncio.wait_for(connection.recv(), 20)).type)
    assert kinds[0] == "SpeechStarted"


async def test_the_sdk_changes_keyterms_before_the_audio_and_behind_it(url: str) -> None:
    sdk = deepgram.AsyncDeepgramClient(api_key="any", environment=environment(url))
    configure = deepgram.listen.v1.types.ListenV1Configure(type="Configure", keyterms=["Zermatt"])
    async with sdk.listen.v1.connect(**OPTIONS) as connection:
        await connection.send_configure(configure)
        before = await asyncio.wait_for(connection.recv(), 20)
        await connection.send_media(bytes(CHUNK_BYTES))
        await connection.send_configure(configure)
        behind = await asyncio.wait_for(connection.recv(), 20)
        await connection.send_close_stream()
    for success in (before, behind):
        assert (success.type, success.keyterms) == ("ConfigureSuccess", ["Zermatt"])


async def test_the_sdk_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        await asyncio.to_thread(talk, url, sample_rate=1)
    response = caught.value.response
    assert response.status_code == 400
    assert json.loads(response.body)["err_msg"] == response.headers["dg-error"]


OLD_PROGRAM = """
import json, sys, threading
from deepgram import DeepgramClient, DeepgramClientOptions, LiveOptions, LiveTranscriptionEvents

messages, confirmed, ended = [], threading.Event(), threading.Event()

def take(_, result, **rest):
    messages.append(result.to_dict())
    if result.from_finalize:
        confirmed.set()

def end(_, metadata, **rest):
    messages.append(metadata.to_dict())
    ended.set()

client = DeepgramClient("any", DeepgramClientOptions(url=sys.argv[1], options={"keepalive": "true"}))
connection = client.listen.websocket.v("1")
connection.on(LiveTranscriptionEvents.Transcript, take)
connection.on(LiveTranscriptionEvents.Metadata, end)
options = LiveOptions(model="nova-2", encoding="linear16", sample_rate=16000, punctuate=True, interim_results=True)
assert connection.start(options)
audio = sys.stdin.buffer.read()
for start in range(0, len(audio), 3200):
    connection.send(audio[start : start + 3200])
connection.finalize()
assert confirmed.wait(20)
connection.finish()
assert ended.wait(20)
print(json.dumps(messages))
"""


async def test_version_4_of_the_sdk_with_websockets_13_is_served(url: str, old_clients: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OLD_PROGRAM, url.rstrip("/")),
        env=old_clients,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(AUDIO)
    assert process.returncode == 0
    *results, metadata = json.loads(output)
    finals = [result for result in results if result["is_final"]]
    assert [text for final in finals if (text := final["channel"]["alternatives"][0]["transcript"])]
    assert metadata["duration"] == 2.4


async def test_the_plugin_of_livekit_gets_the_speech_and_its_end(url: str) -> None:
    from aiohttp import ClientSession
    from livekit import rtc

    async with ClientSession() as http:
        stt = livekit.STT(base_url=f"{url}v1/listen", api_key="any", http_session=http)
        stream = stt.stream()
        stream.push_frame(rtc.AudioFrame(AUDIO, 16_000, 1, len(AUDIO) // 2))
        stream.end_input()
        events = {}
        async with asyncio.timeout(20):
            while "end_of_speech" not in events:
                event = await anext(stream)
                events[event.type.value] = event
        await stream.aclose()
        await stt.aclose()
    assert "start_of_speech" in events
    (said,) = events["final_transcript"].alternatives
    assert said.text
    assert said.text.split() == [str(word) for word in said.words]


@pytest.mark.model
async def test_the_words_are_those_of_the_native_protocol() -> None:
    samples, rate = soundfile.read(CLIP, dtype="float32")
    assert rate == 16_000
    audio = pcm_s16le(np.asarray(samples))
    # Without partials, because the words that they commit depend on the speed of the machine.
    settings = StreamSettings(partials=False, words=True, endpointing=Endpointing(silence_ms=300))
    native = []
    async with running_server(Config(engine=EngineConfig(model="tiny.en"))) as url:
        messages = await asyncio.to_thread(talk, url, audio, interim_results=False, punctuate=True)
        async with connect(url, settings) as stream:
            await stream.send_audio(audio)
            await stream.stop()
            native += [event async for event in stream if isinstance(event, Final)]
    assert transcripts(messages) == [final.text for final in native if final.text]
    assert "country" in " ".join(transcripts(messages))
    alternatives = [message.channel.alternatives[0] for message in messages if message.type == "Results"]
    # The words of a native final may begin with another case than its text.
    words = [(word.punctuated_word.lower(), round(word.start * 1000)) for each in alternatives for word in each.words]
    assert words == [(word.word.lower(), word.start_ms) for final in native for word in final.words]
