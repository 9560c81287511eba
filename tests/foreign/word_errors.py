"""Count word errors of recordings through each protocol, with Whisper tiny.en.

    python -m tests.foreign.word_errors DIRECTORY PATTERN...

Each recording is sent at once, so partials do not decide. Clients of WhisperLive need build/old-clients.
"""

import argparse
import asyncio
import base64
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import ClientSession, FormData

from livecaption.client import StreamSettings, transcribe
from livecaption.evaluation.clips import Clip, choose, read_manifest, read_pcm
from livecaption.evaluation.uploads import as_wav
from livecaption.evaluation.wer import word_error_rate
from livecaption.events import Final
from livecaption.ipc.config import EngineConfig
from tests.foreign.conftest import OLD_CLIENTS
from tests.support import peer_clients
from tests.support.wyoming import Ports, serving

TRANSCRIPTION = "conversation.item.input_audio_transcription.completed"


async def native(ports: Ports, pcm: bytes) -> str:
    finals: list[str] = []

    async def chunks():
        yield pcm

    def receive(event: object) -> None:
        if isinstance(event, Final):
            finals.append(event.text)

    await transcribe(f"http://127.0.0.1:{ports.http}", chunks(), receive, StreamSettings(language="en"))
    return " ".join(finals)


async def realtime(ports: Ports, pcm: bytes) -> str:
    form = {"type": "audio/pcm", "rate": 16_000}
    texts: dict[str, str] = {}
    owed: set[str] = set()
    async with ClientSession() as http, http.ws_connect(f"http://127.0.0.1:{ports.http}/v1/realtime") as socket:
        await socket.send_json({"type": "session.update", "session": {"audio": {"input": {"format": form}}}})
        await socket.send_json({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})
        await socket.send_json({"type": "input_audio_buffer.commit"})
        await socket.send_json({"type": "input_audio_buffer.clear"})
        is_cleared = False
        while not is_cleared or owed != texts.keys():
            event = await socket.receive_json()
            is_cleared |= event["type"] == "input_audio_buffer.cleared"
            if event["type"] == "input_audio_buffer.committed":
                owed.add(event["item_id"])
            if event["type"] == TRANSCRIPTION:
                texts[event["item_id"]] = event["transcript"]
    return " ".join(texts[item] for item in sorted(texts, key=lambda item: int(item.rpartition("_")[2])))


async def deepgram(ports: Ports, pcm: bytes) -> str:
    query = "encoding=linear16&sample_rate=16000&punctuate=true"
    texts = []
    async with ClientSession() as http, http.ws_connect(f"http://127.0.0.1:{ports.http}/v1/listen?{query}") as socket:
        for start in range(0, len(pcm), 64_000):
            await socket.send_bytes(pcm[start : start + 64_000])
        await socket.send_json({"type": "CloseStream"})
        async for message in socket:
            event = message.json()
            if event["type"] == "Results" and event["is_final"]:
                texts.append(event["channel"]["alternatives"][0]["transcript"])
    return " ".join(texts)


async def vosk(ports: Ports, pcm: bytes) -> str:
    replies = await peer_clients.vosk(f"ws://127.0.0.1:{ports.vosk}", pcm)
    return " ".join(reply["text"] for reply in replies if "text" in reply)


async def whisper_live(ports: Ports, pcm: bytes) -> str:
    environment = {**os.environ, "PYTHONPATH": str(OLD_CLIENTS)}
    heard = await peer_clients.whisper_live(str(ports.whisperlive), pcm, environment)
    return " ".join(heard["committed"])


async def wyoming(ports: Ports, pcm: bytes) -> str:
    events = dict(await peer_clients.wyoming(ports.wyoming, pcm))
    return str(events["transcript"]["text"])


async def openai_recording(ports: Ports, pcm: bytes) -> str:
    form = FormData({"model": "whisper-1", "response_format": "text"})
    form.add_field("file", as_wav(pcm), filename="a.wav")
    url = f"http://127.0.0.1:{ports.http}/v1/audio/transcriptions"
    async with ClientSession() as http, http.post(url, data=form) as answer:
        assert answer.status == 200
        return await answer.text()


async def deepgram_recording(ports: Ports, pcm: bytes) -> str:
    url = f"http://127.0.0.1:{ports.http}/v1/listen?punctuate=true"
    async with ClientSession() as http, http.post(url, data=as_wav(pcm)) as answer:
        assert answer.status == 200
        return str((await answer.json())["results"]["channels"][0]["alternatives"][0]["transcript"])


PROTOCOLS: dict[str, Callable[[Ports, bytes], Awaitable[str]]] = {
    "native": native,
    "OpenAI Realtime": realtime,
    "Deepgram live": deepgram,
    "vosk": vosk,
    "WhisperLive": whisper_live,
    "Wyoming": wyoming,
    "OpenAI recordings": openai_recording,
    "Deepgram recordings": deepgram_recording,
}


async def measure(clips: list[Clip]) -> None:
    """Print the errors of each protocol."""
    references = [clip.reference or "" for clip in clips]
    recordings = [read_pcm(clip.path) for clip in clips]
    async with serving(engine=EngineConfig()) as ports:
        for name, speak in PROTOCOLS.items():
            errors = word_error_rate(references, [await speak(ports, pcm) for pcm in recordings])
            print(f"{name:20} {errors.n_errors} of {errors.reference_words} words", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count word errors of recordings through each protocol.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("patterns", nargs="+")
    options = parser.parse_args()
    asyncio.run(measure(choose(read_manifest(options.directory), options.patterns)))


if __name__ == "__main__":
    main()
