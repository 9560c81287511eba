"""A recording has the same text in each protocol, with a real model."""

from collections.abc import AsyncIterator

import pytest

from livecaption.captions.punctuation import without_punctuation
from livecaption.client import StreamSettings, connect
from livecaption.events import Final
from livecaption.ipc.config import EngineConfig
from tests.support import peer_clients
from tests.support.streaming import jfk_pcm
from tests.support.wyoming import Ports, serving

pytestmark = pytest.mark.model


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
    assert "ask what you can do for your country" in without_punctuation(" ".join(finals))
    return without_punctuation(" ".join(finals))


async def test_vosk_has_the_same_text(ports: Ports, text: str) -> None:
    replies = await peer_clients.vosk(f"ws://127.0.0.1:{ports.vosk}", jfk_pcm())
    assert without_punctuation(" ".join(reply["text"] for reply in replies if "text" in reply)) == text


async def test_vosk_without_punctuation_has_the_same_text(ports: Ports, text: str) -> None:
    replies = await peer_clients.vosk(f"ws://127.0.0.1:{ports.vosk}/?punctuation=false", jfk_pcm())
    assert " ".join(reply["text"] for reply in replies if reply.get("text")) == text


async def test_whisperlive_has_the_same_text(ports: Ports, text: str, old_clients: dict[str, str]) -> None:
    heard = await peer_clients.whisper_live(str(ports.whisperlive), jfk_pcm(), old_clients)
    assert without_punctuation(" ".join(heard["committed"])) == text


async def test_wyoming_has_the_same_text(ports: Ports, text: str) -> None:
    events = dict(await peer_clients.wyoming(ports.wyoming, jfk_pcm()))
    assert without_punctuation(events["transcript"]["text"]) == text
