"""A recording has the same text in each protocol, with a real model."""

from collections.abc import AsyncIterator

import pytest

from livecaption.captions.punctuation import without_punctuation
from livecaption.client import StreamSettings, connect
from livecaption.evaluation.wer import word_error_rate
from livecaption.events import Final
from livecaption.ipc.config import EngineConfig
from tests.support import peer_clients
from tests.support.streaming import jfk_pcm
from tests.support.wyoming import Ports, serving

pytestmark = pytest.mark.model
JFK = "And so my fellow Americans ask not what your country can do for you, ask what you can do for your country."
MAX_ERRORS = 2
"""Words that may differ: a final keeps what partials have committed, and there is more or less time for partials."""


@pytest.fixture(scope="module")
async def ports() -> AsyncIterator[Ports]:
    async with serving(engine=EngineConfig()) as ports:
        yield ports


@pytest.fixture(scope="module")
async def text(ports: Ports) -> str:
    """The text in the native protocol."""
    finals = []
    async with connect(f"http://127.0.0.1:{ports.http}", StreamSettings(language="en")) as stream:
        await stream.send_audio(jfk_pcm())
        await stream.stop()
        async for event in stream:
            if isinstance(event, Final):
                finals.append(event.text)
    assert word_error_rate([JFK], [" ".join(finals)]).n_errors <= MAX_ERRORS
    return " ".join(finals)


def check(text: str, expected: str) -> None:
    assert word_error_rate([expected], [text]).n_errors <= MAX_ERRORS, (text, expected)


async def test_vosk_has_the_same_text(ports: Ports, text: str) -> None:
    replies = await peer_clients.vosk(f"ws://127.0.0.1:{ports.vosk}", jfk_pcm())
    check(" ".join(reply["text"] for reply in replies if "text" in reply), text)


async def test_vosk_without_punctuation_has_the_same_text(ports: Ports, text: str) -> None:
    replies = await peer_clients.vosk(f"ws://127.0.0.1:{ports.vosk}/?punctuation=false", jfk_pcm())
    words = " ".join(reply["text"] for reply in replies if reply.get("text"))
    check(words, text)
    assert words == without_punctuation(words)


async def test_whisperlive_has_the_same_text(ports: Ports, text: str, old_clients: dict[str, str]) -> None:
    heard = await peer_clients.whisper_live(str(ports.whisperlive), jfk_pcm(), old_clients)
    check(" ".join(heard["committed"]), text)


async def test_wyoming_has_the_same_text(ports: Ports, text: str) -> None:
    events = dict(await peer_clients.wyoming(ports.wyoming, jfk_pcm()))
    check(events["transcript"]["text"], text)
