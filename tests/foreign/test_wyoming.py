"""The unmodified client of `wyoming` 1.10.2, which Home Assistant uses."""

from collections.abc import AsyncIterator

import pytest

from tests.support import peer_clients
from tests.support.foreign import load
from tests.support.serving import PAUSE, SPEECH
from tests.support.wyoming import Ports, serving

load("wyoming.audio")
from wyoming.asr import Transcript, TranscriptChunk  # noqa: E402 - the package may be missing
from wyoming.client import AsyncClient  # noqa: E402
from wyoming.error import Error  # noqa: E402
from wyoming.event import Event  # noqa: E402
from wyoming.info import Describe, Info  # noqa: E402
from wyoming.ping import Ping, Pong  # noqa: E402


@pytest.fixture(scope="module")
async def ports() -> AsyncIterator[Ports]:
    async with serving() as ports:
        yield ports


async def test_home_assistant_finds_a_program_with_languages(ports: Ports) -> None:
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{ports.wyoming}", read_timeout=20) as peer:
        await peer.write_event(Describe().event())
        program = Info.from_event(await peer.read_event()).asr[0]
        await peer.write_event(Ping("hi").event())
        assert Pong.from_event(await peer.read_event()).text == "hi"
    assert program.installed
    assert program.requires_external_vad
    assert program.supports_transcript_streaming
    assert [model.name for model in program.models if model.installed] == ["scripted"]
    assert {"en", "de"} <= set(program.models[0].languages)


async def test_a_command_is_transcribed_piece_by_piece(ports: Ports) -> None:
    events = [Event(kind, data) for kind, data in await peer_clients.wyoming(ports.wyoming, SPEECH + PAUSE)]
    [transcript] = [Transcript.from_event(event) for event in events if Transcript.is_type(event.type)]
    chunks = [TranscriptChunk.from_event(event).text for event in events if TranscriptChunk.is_type(event.type)]
    assert "".join(chunks) == transcript.text
    assert transcript.text.startswith("One two three")
    assert transcript.language == "en"


async def test_a_language_that_the_model_lacks_is_an_error(ports: Ports) -> None:
    events = await peer_clients.wyoming(ports.wyoming, b"", language="tlh")
    assert [Error.from_event(Event(kind, data)).code for kind, data in events] == ["unsupported_language"]
