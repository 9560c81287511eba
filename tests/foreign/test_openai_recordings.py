"""OpenAI's SDK for Python with whole recordings, sync and async."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server import build_app
from livecaption.server.config import ServerConfig
from livecaption.server.services import SERVICES
from tests.support.foreign import client
from tests.support.recordings import ONE_UTTERANCE, TWO_UTTERANCES, recording

openai = client("openai")

KEY = "0123456789abcdef"
TEXT = "One two three four five six."
TWO_TEXTS = f"{TEXT} One two three four five six seven."
FILE = ("talk.wav", recording(TWO_UTTERANCES))


class Counting:
    """Counts the requests that reach a server, by their paths."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    @web.middleware
    async def count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Count one request."""
        self.paths.append(request.path)
        response: web.StreamResponse = await handler(request)
        return response


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[str, Counting]]:
    """The address of a server with a key, and the requests that it gets."""
    counting = Counting()
    config = Config(engine=EngineConfig(engine="scripted"), server=ServerConfig(token=KEY, max_upload_mb=1))
    app = build_app(config)
    app.middlewares.append(counting.count)
    async with TestServer(app) as server:
        await app[SERVICES].pool.wait_until_loaded()
        yield str(server.make_url("/v1")), counting


@pytest.fixture
async def sdk(served: tuple[str, Counting]) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=served[0], api_key=KEY) as made:
        yield made


async def test_every_format_is_read(sdk: Any) -> None:
    for name in ("json", "text", "srt", "vtt", "verbose_json"):
        answer = await sdk.audio.transcriptions.create(
            file=FILE, model="whisper-1", response_format=name, timestamp_granularities=["word", "segment"]
        )
        assert isinstance(answer, str) == (name in ("text", "srt", "vtt")), name
        if name == "verbose_json":
            assert (answer.language, answer.duration, len(answer.segments)) == ("english", 4.8, 2)
            assert [word.word for word in answer.words] == TWO_TEXTS.split()
        if name in ("json", "verbose_json"):
            assert answer.text == TWO_TEXTS
            assert answer.usage.seconds == 5


async def test_a_stream_of_events_is_read(sdk: Any) -> None:
    events = [event async for event in await sdk.audio.transcriptions.create(file=FILE, model="any", stream=True)]
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == TWO_TEXTS


async def test_a_translation_is_read(sdk: Any) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = await sdk.audio.translations.create(file=FILE, model="any")
    assert answer.text == TWO_TEXTS


async def test_models_are_listed_and_another_one_is_not_found(sdk: Any) -> None:
    [model] = [each async for each in sdk.models.list()]
    assert (await sdk.models.retrieve(model.id)).id == model.id
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.models.retrieve("whisper-1")
    assert caught.value.code == "model_not_found"


async def test_the_sync_client_is_served_too(served: tuple[str, Counting]) -> None:
    def use() -> str:
        with openai.OpenAI(base_url=served[0], api_key=KEY) as made:
            text: str = made.audio.transcriptions.create(file=("a.wav", recording(ONE_UTTERANCE)), model="any").text
            return text

    assert await asyncio.to_thread(use) == TEXT


@pytest.mark.parametrize(
    ("file", "key", "error"),
    [
        (b"no audio " * 99, KEY, "BadRequestError"),
        (b"", KEY, "BadRequestError"),
        (bytes(2**20 + 1), KEY, "APIStatusError"),
        (recording(), "wrong", "AuthenticationError"),
    ],
    ids=["no audio", "empty", "too large", "wrong key"],
)
async def test_a_recording_that_is_refused_is_sent_once(
    served: tuple[str, Counting], file: bytes, key: str, error: str
) -> None:
    address, counting = served
    before = len(counting.paths)
    async with openai.AsyncOpenAI(base_url=address, api_key=key, max_retries=2) as made:
        with pytest.raises(getattr(openai, error)):
            await made.audio.transcriptions.create(file=("a.wav", file), model="any")
    assert counting.paths[before:] == ["/v1/audio/transcriptions"]


async def test_a_failure_of_the_model_is_reported_once(served: tuple[str, Counting], sdk: Any) -> None:
    before = len(served[1].paths)
    with pytest.raises(openai.InternalServerError):
        await sdk.audio.transcriptions.create(file=("a.wav", recording()), model="any", prompt="script: nan")
    assert len(served[1].paths) == before + 1
