"""The same recording by OpenAI's SDK, by Deepgram's, and as a native stream, with Whisper tiny.en."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livecaption.client import Endpointing, StreamEvent, StreamSettings, transcribe
from livecaption.config import Config
from livecaption.evaluation.clips import read_pcm
from livecaption.events import Final
from livecaption.server.lifecycle import running_server
from livecaption.speech.endpointing import RECORDINGS
from tests.support.foreign import client

openai = client("openai")
deepgram = client("deepgram")
httpx = client("httpx")

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
CLIP = Path(__file__).parents[1] / "data" / "jfk.flac"


async def native(url: str) -> str:
    finals: list[Final] = []

    def receive(event: StreamEvent) -> None:
        if isinstance(event, Final):
            finals.append(event)

    async def audio() -> AsyncIterator[bytes]:
        yield read_pcm(CLIP)

    endpointing = Endpointing(silence_ms=RECORDINGS.hangover_ms, max_utterance_ms=RECORDINGS.max_utterance_ms)
    await transcribe(url, audio(), receive, StreamSettings(partials=False, endpointing=endpointing))
    return " ".join(final.text for final in finals if final.text)


async def test_the_text_is_that_of_the_native_protocol() -> None:
    async with running_server(Config()) as url:
        streamed = await native(url)
        async with openai.AsyncOpenAI(base_url=f"{url}v1", api_key="any") as sdk:
            by_openai = await sdk.audio.transcriptions.create(file=CLIP, model="whisper-1")
            verbose = await sdk.audio.transcriptions.create(
                file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word"]
            )
        base = url.rstrip("/")
        environment = deepgram.DeepgramClientEnvironment(base=base, production=base, agent=base, agent_rest=base)
        async with httpx.AsyncClient(timeout=60) as http:
            sdk = deepgram.AsyncDeepgramClient(api_key="any", environment=environment, httpx_client=http)
            by_deepgram = await sdk.listen.v1.media.transcribe_file(request=CLIP.read_bytes(), smart_format=True)
    assert "ask not what your country can do for you" in streamed.lower()
    assert by_openai.text == streamed
    assert by_deepgram.results.channels[0].alternatives[0].transcript == streamed
    assert [re.sub(r"\W", "", word.word) for word in verbose.words] == re.sub(r"[^\w\s]", "", streamed).split()
    starts = [word.start for word in verbose.words]
    assert starts == sorted(starts)
