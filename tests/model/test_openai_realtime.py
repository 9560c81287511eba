"""OpenAI's Realtime API with Whisper: the same words as in the native protocol."""

import base64
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from aiohttp import ClientSession

from livecaption.config import Config
from livecaption.evaluation.wer import word_error_rate
from livecaption.server.lifecycle import running_server
from tests.support.serving import read_event
from tests.support.speech import pcm_s16le

MAX_ERRORS = 2
"""Words that may differ: a final keeps what partials have committed, and there is more or less time for partials."""
CLIPS = [("jfk", 24_000), ("ls-1995-1837-0001", 16_000)]


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with running_server(Config()) as url:
        yield url


async def native(url: str, audio: bytes) -> str:
    async with ClientSession() as session, session.ws_connect(f"{url}v1/stream") as socket:
        await socket.send_json({"type": "start", "partials": False})
        await socket.send_bytes(audio)
        await socket.send_json({"type": "flush"})
        texts = []
        while (event := await read_event(socket))["type"] != "flushed":
            texts += [event["text"]] if event["type"] == "final" else []
        return " ".join(texts)


async def realtime(url: str, audio: bytes, rate_hz: int) -> tuple[str, str]:
    """Return the transcripts, and all deltas."""
    async with ClientSession() as session, session.ws_connect(f"{url}v1/realtime?intent=transcription") as socket:
        format_ = {"type": "audio/pcm", "rate": rate_hz}
        await socket.send_json({"type": "session.update", "session": {"audio": {"input": {"format": format_}}}})
        await socket.send_json({"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()})
        await socket.send_json({"type": "input_audio_buffer.commit"})
        await socket.send_json({"type": "input_audio_buffer.clear"})
        return await answers(socket)


async def answers(socket: Any) -> tuple[str, str]:
    owed: list[str] = []
    answered, deltas, cleared = {}, defaultdict(str), False
    while not cleared or set(owed) != answered.keys():
        event = await socket.receive_json(timeout=60)
        match event["type"]:
            case "input_audio_buffer.committed":
                owed.append(event["item_id"])
            case "conversation.item.input_audio_transcription.delta":
                deltas[event["item_id"]] += event["delta"]
            case "conversation.item.input_audio_transcription.completed":
                answered[event["item_id"]] = event["transcript"]
            case "input_audio_buffer.cleared":
                cleared = True
    return " ".join(answered[item] for item in owed), " ".join(deltas[item] for item in owed)


@pytest.mark.parametrize(("clip", "rate_hz"), CLIPS)
async def test_the_transcript_is_that_of_the_native_protocol(
    url: str, clip: str, rate_hz: int, samples: dict[str, npt.NDArray[np.float32]]
) -> None:
    """Apart from commas and the like, which depend on the partials that there was time for."""
    recorded = pcm_s16le(soxr.resample(samples[clip], 16_000, rate_hz))
    expected = await native(url, pcm_s16le(samples[clip]))
    assert len(expected.split()) > 10
    transcript, deltas = await realtime(url, recorded, rate_hz)
    assert word_error_rate([transcript], [deltas]).rate == 0
    assert word_error_rate([expected], [transcript]).n_errors <= MAX_ERRORS
