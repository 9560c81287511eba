"""Clients of OpenAI's Realtime API: `openai` with both of its shapes, OpenAI Agents and LiveKit."""

import asyncio
import base64
import re
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.foreign import client as imported
from tests.support.speech import pcm_s16le, sound

openai = imported("openai")

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients" / "openai.md"
RATE_HZ = 24_000
SILENCE = pcm_s16le(sound("silence 1000ms", RATE_HZ))
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms", RATE_HZ))
SHORT_SPEECH = pcm_s16le(sound("silence 100ms, speech 500ms", RATE_HZ))
TURN = SPEECH + SILENCE
CHUNK_BYTES = 2400  # 50 ms
COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"


def chunks(audio: bytes) -> list[bytes]:
    return [audio[start : start + CHUNK_BYTES] for start in range(0, len(audio), CHUNK_BYTES)]


@pytest.fixture
async def client(url: str) -> AsyncIterator[Any]:
    websocket_url = url.replace("http", "ws") + "v1"
    async with openai.AsyncOpenAI(base_url=f"{url}v1", websocket_base_url=websocket_url, api_key="any") as opened:
        yield opened


async def send(connection: Any, audio: bytes) -> None:
    for chunk in chunks(audio):
        await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())


async def events_until(connection: Any, kind: str) -> list[Any]:
    events = []
    async with asyncio.timeout(20):
        async for event in connection:
            events.append(event)
            if event.type == kind:
                break
    return events


@pytest.mark.parametrize(
    "query", [{"intent": "transcription"}, {"intent": "transcription", "model": "m"}, {"model": "m"}]
)
async def test_openai_transcribes_turns_that_the_server_detects(client: Any, query: dict[str, str]) -> None:
    async with client.realtime.connect(extra_query=query) as connection:
        (created,) = await events_until(connection, "session.created")
        asked = {"format": {"type": "audio/pcm", "rate": RATE_HZ}, "transcription": {"model": "m", "language": "en"}}
        await connection.session.update(session={"type": "transcription", "audio": {"input": asked}})
        (updated,) = await events_until(connection, "session.updated")
        assert created.session.id == updated.session.id
        assert updated.session.audio.input.transcription.language == "en"
        assert updated.session.audio.input.turn_detection.silence_duration_ms == 500
        await send(connection, TURN)
        events = await events_until(connection, COMPLETED)
    kinds = [event.type for event in events if event.type != DELTA]
    assert kinds == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        COMPLETED,
    ]
    completed = events[-1]
    assert completed.transcript == "".join(event.delta for event in events if event.type == DELTA) != ""
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {completed.item_id}
    assert (completed.usage.type, completed.languages[0].code) == ("duration", "en")
    assert 1.0 < completed.usage.seconds < 3.0


async def test_openai_commits_turns_and_learns_of_its_mistakes(client: Any) -> None:
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        await connection.session.update(session={"type": "transcription", "audio": {"input": {"turn_detection": None}}})
        await connection.input_audio_buffer.commit(event_id="early")
        error = (await events_until(connection, "error"))[-1].error
        assert (error.code, error.event_id) == ("input_audio_buffer_commit_empty", "early")
        await connection.send({"type": "response.create", "event_id": "unknown"})
        assert (await events_until(connection, "error"))[-1].error.event_id == "unknown"
        await send(connection, SPEECH)
        await connection.input_audio_buffer.commit()
        completed = (await events_until(connection, COMPLETED))[-1]
        assert completed.transcript
        await send(connection, SPEECH)
        await connection.input_audio_buffer.clear()
        await events_until(connection, "input_audio_buffer.cleared")


async def test_openai_transcribes_a_file_as_in_the_documents(url: str, tmp_path: Path) -> None:
    (tmp_path / "speech.raw").write_bytes(TURN)
    program = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program.replace("http://localhost:8000/", url)),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.strip()


async def test_openai_gets_probabilities_of_words(client: Any) -> None:
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        included = ["item.input_audio_transcription.logprobs"]
        await connection.session.update(session={"type": "transcription", "include": included})
        await send(connection, TURN)
        completed = (await events_until(connection, COMPLETED))[-1]
    assert [each.token.strip() for each in completed.logprobs] == completed.transcript.split()
    assert all(bytes(each.bytes).decode() == each.token and each.logprob <= 0 for each in completed.logprobs)


async def test_openai_speaks_the_beta_too(client: Any) -> None:
    async with client.beta.realtime.connect(model="m", extra_query={"intent": "transcription"}) as connection:
        await events_until(connection, "transcription_session.created")
        await connection.transcription_session.update(
            session={"input_audio_format": "pcm16", "input_audio_transcription": {"model": "whisper-1"}}
        )
        updated = (await events_until(connection, "transcription_session.updated"))[-1]
        assert updated.session.input_audio_format == "pcm16"
        assert updated.session.input_audio_transcription.model == "whisper-1"
        await send(connection, TURN)
        events = await events_until(connection, COMPLETED)
    assert "conversation.item.created" in [event.type for event in events]
    assert events[-1].transcript


async def turns_of_agents(client: Any, audio: bytes, **settings: Any) -> list[str]:
    """Return the turns that openai-agents finds in the audio."""
    voice = imported("agents.voice")
    given = voice.StreamedAudioInput()
    session = await voice.OpenAISTTModel("m", client).create_session(
        given, voice.STTModelSettings(**settings), False, False
    )
    for chunk in chunks(audio):
        await given.add_audio(np.frombuffer(chunk, np.int16))
    await given.add_audio(None)
    async with asyncio.timeout(20), aclosing(session.transcribe_turns()) as turns:
        return [turn async for turn in turns]


@pytest.mark.parametrize(
    "turns",
    [None, {"type": "semantic_vad", "eagerness": "high"}, {"type": "server_vad", "silence_duration_ms": 300}],
    ids=["default", "semantic", "server"],
)
@pytest.mark.parametrize("rest", [SILENCE * 5, b"", SILENCE[:4800]], ids=["silence", "none", "a little"])
async def test_openai_agents_gets_every_turn_and_ends(client: Any, turns: Any, rest: bytes) -> None:
    """It uses the semantic detection unless another one is asked for. Its last turn may have no silence behind it."""
    said = await turns_of_agents(client, SPEECH + SILENCE * 5 + SPEECH + rest, turn_detection=turns, language="en")
    assert len(said) == 2
    assert all(said)


async def test_openai_agents_ends_without_speech(client: Any) -> None:
    assert await turns_of_agents(client, SILENCE[:200]) == []


async def test_livekit_gets_turns_also_where_its_audio_just_stops_and_may_change_its_options(url: str) -> None:
    plugin, agents, rtc = imported("livekit.plugins.openai"), imported("livekit.agents"), imported("livekit.rtc")
    kinds = agents.stt.SpeechEventType
    async with agents.utils.http_context.open():
        turns = {"type": "server_vad", "silence_duration_ms": 200}
        stt = plugin.STT(
            base_url=f"{url}v1", api_key="any", use_realtime=True, model="m", language="en", turn_detection=turns
        )
        async with stt.stream() as stream:
            for audio in (TURN, SHORT_SPEECH):
                for chunk in chunks(audio):
                    stream.push_frame(rtc.AudioFrame(chunk, RATE_HZ, 1, len(chunk) // 2))
                stream.flush()
                seen = []
                async with asyncio.timeout(20):
                    async for event in stream:
                        seen.append(event.type)
                        if event.type is kinds.FINAL_TRANSCRIPT:
                            break
                assert event.alternatives[0].text
                assert event.alternatives[0].language == "en"
                assert kinds.START_OF_SPEECH in seen
                assert kinds.END_OF_SPEECH in seen
                stt.update_options(prompt="Good morning.")
        await stt.aclose()
