"""Clients of vosk-server, WhisperLive and Wyoming that are not ours. Each sends one recording and returns its text."""

import asyncio
import json
import sys
from typing import Any

from tests.support.foreign import client, load

CHUNK_BYTES = 8192
WHISPER_LIVE = """
import json, sys
from types import ModuleType

# They record, play and read files, which nobody wants here.
for name in ("pyaudio", "scipy"):
    sys.modules[name] = ModuleType(name)

from whisper_live.client import StreamingTranscriptionClient

committed, partials, pcm = [], [], sys.stdin.buffer.read()
client = StreamingTranscriptionClient(
    "127.0.0.1", sys.argv[1], lang=sys.argv[2] or None, ready_timeout=30,
    on_partial_transcript=lambda text, _: partials.append(text),
    on_committed_transcript=lambda text, _: committed.append(text))
with client:
    for start in range(0, len(pcm), 8192):
        client.send(pcm[start : start + 8192], pcm_format="int16")
print(json.dumps({"committed": committed, "partials": partials, "kept": len(client._client.transcript)}))
"""


async def vosk(url: str, pcm: bytes, rate: int = 16_000) -> list[dict[str, Any]]:
    """Speak in lock-step, as the reference client of vosk-server does; return the replies."""
    replies = []
    async with client("websockets").connect(url) as socket:
        await socket.send(json.dumps({"config": {"sample_rate": rate}}))
        for start in range(0, len(pcm), CHUNK_BYTES):
            await socket.send(pcm[start : start + CHUNK_BYTES])
            replies.append(json.loads(await socket.recv()))
        await socket.send('{"eof" : 1}')
        replies.append(json.loads(await socket.recv()))
    return replies


async def whisper_live(port: str, pcm: bytes, environment: dict[str, str], language: str = "en") -> dict[str, Any]:
    """Run the client of WhisperLive in a process of its own.

    Args:
        port: the port, perhaps with a path.
        pcm: 16 kHz mono, 16 bits.
        environment: has the package `whisper-live` in its path.
        language: a code; empty: it is detected.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WHISPER_LIVE, port, language),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate(pcm)
    assert process.returncode == 0, complaints.decode()
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


async def wyoming(port: int, pcm: bytes, rate: int = 16_000, language: str = "en") -> list[tuple[str, dict[str, Any]]]:
    """Transcribe with the client of `wyoming`; return the types and data of all events."""
    load("wyoming.audio")
    from wyoming.asr import Transcribe
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncClient

    events = []
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{port}", read_timeout=60) as peer:
        await peer.write_event(Transcribe(language=language).event())
        await peer.write_event(AudioStart(rate, 2, 1).event())
        for start in range(0, len(pcm), 2048):
            await peer.write_event(AudioChunk(rate, 2, 1, pcm[start : start + 2048]).event())
        await peer.write_event(AudioStop().event())
        while (event := await peer.read_event()) is not None:
            events.append((event.type, event.data))
    return events
