"""Deepgram's SDK for Python with whole recordings, sync and async."""

import asyncio
from typing import Any

import pytest

from tests.support.foreign import client
from tests.support.recordings import ONE_UTTERANCE, TWO_UTTERANCES, recording

deepgram = client("deepgram")
httpx = client("httpx")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""The SDK uses names of `websockets` that are old."""
TEXT = "One two three four five six."


def options(url: str) -> dict[str, Any]:
    """Return what a user of version 7 changes."""
    base, socket = url.rstrip("/"), url.rstrip("/").replace("http", "ws")
    environment = deepgram.DeepgramClientEnvironment(base=base, production=socket, agent=socket, agent_rest=base)
    return {"api_key": "any", "environment": environment}


async def test_a_recording_is_transcribed_with_words_utterances_and_paragraphs(url: str) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        sdk = deepgram.AsyncDeepgramClient(**options(url), httpx_client=http)
        answer = await sdk.listen.v1.media.transcribe_file(
            request=recording(TWO_UTTERANCES), model="nova-3", smart_format=True, utterances=True, paragraphs=True
        )
    [channel] = answer.results.channels
    [alternative] = channel.alternatives
    assert alternative.transcript == f"{TEXT} One two three four five six seven."
    assert [word.punctuated_word for word in alternative.words] == alternative.transcript.split()
    assert answer.results.utterances[0].transcript == TEXT
    assert len(alternative.paragraphs.paragraphs) == 1
    assert answer.metadata.duration == 4.8


async def test_the_sync_client_is_served_with_raw_audio(url: str) -> None:
    def use() -> str:
        with httpx.Client(timeout=60) as http:
            sdk = deepgram.DeepgramClient(**options(url), httpx_client=http)
            answer = sdk.listen.v1.media.transcribe_file(
                request=ONE_UTTERANCE,
                encoding="linear16",
                request_options={"additional_query_parameters": {"sample_rate": "16000"}},
            )
        transcript: str = answer.results.channels[0].alternatives[0].transcript
        return transcript

    assert await asyncio.to_thread(use) == "one two three four five six"


async def test_an_address_is_refused(url: str) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        sdk = deepgram.AsyncDeepgramClient(**options(url), httpx_client=http)
        with pytest.raises(deepgram.BadRequestError):
            await sdk.listen.v1.media.transcribe_url(url="http://127.0.0.1/secret")
