"""Speakers for clients of Deepgram and OpenAI, by their unmodified SDKs."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server.lifecycle import running_server
from tests.foreign.test_deepgram import talk
from tests.foreign.test_deepgram_recordings import options
from tests.foreign.test_openai_realtime import COMPLETED, RATE_HZ, events_until, send
from tests.support.foreign import client
from tests.support.recordings import recording
from tests.support.speech import pcm_s16le, sound

deepgram = client("deepgram")
httpx = client("httpx")
openai = client("openai")
websockets = client("websockets")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""Deepgram's SDK uses names of `websockets` that are old."""
TALK = "silence 200ms, speech 4200ms, silence 1000ms"
"""An utterance that two people share. Each speaks for 2 s."""
DIARIZING = "gpt-4o-transcribe-diarize"


@pytest.fixture(scope="module")
async def meeting() -> AsyncIterator[str]:
    """The address of a server on which two people share each utterance."""
    engine = EngineConfig(engine="scripted", model="voices ada bob", speakers=True)
    async with running_server(Config(engine=engine)) as address:
        yield address


@pytest.fixture
async def sdk(meeting: str) -> AsyncIterator[Any]:
    websocket_url = meeting.replace("http", "ws") + "v1"
    made = openai.AsyncOpenAI(base_url=f"{meeting}v1", websocket_base_url=websocket_url, api_key="any", max_retries=0)
    async with made:
        yield made


def in_halves(speakers: list[Any]) -> bool:
    """Return whether the first words are those of speaker 0, and the others those of speaker 1."""
    return set(speakers) == {0, 1} and speakers == sorted(speakers)


# Deepgram


@pytest.mark.parametrize("wish", [{"diarize": "true"}, {"diarize_model": "latest"}, {"diarize_model": "v1"}])
async def test_words_of_final_results_have_the_speaker(meeting: str, wish: dict[str, str]) -> None:
    messages = await asyncio.to_thread(talk, meeting, pcm_s16le(sound(TALK)), **wish)
    results = [message for message in messages if message.type == "Results"]
    finals, interim = (
        [word.speaker for each in results if each.is_final is kind for word in each.channel.alternatives[0].words]
        for kind in (True, False)
    )
    assert in_halves(finals)
    assert set(interim) <= {None}  # under load there is none


async def test_words_have_no_speaker_unless_the_client_asks(meeting: str) -> None:
    messages = await asyncio.to_thread(talk, meeting, pcm_s16le(sound(TALK)), diarize="false")
    words = [w for r in messages if r.type == "Results" for w in r.channel.alternatives[0].words]
    assert {word.speaker for word in words} == {None}


async def test_a_stream_that_wants_speakers_is_refused_where_there_are_none(url: str) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
        await asyncio.to_thread(talk, url, diarize="true")
    assert refusal.value.response.status_code == 400
    assert "--speakers" in refusal.value.response.headers["dg-error"]


async def test_a_recording_has_the_speakers_of_words_utterances_and_paragraphs(meeting: str) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        made = deepgram.AsyncDeepgramClient(**options(meeting), httpx_client=http)
        answer = await made.listen.v1.media.transcribe_file(
            request=recording(pcm_s16le(sound(TALK))),
            diarize_model="v2",
            smart_format=True,
            utterances=True,
            paragraphs=True,
        )
    [alternative] = answer.results.channels[0].alternatives
    assert in_halves([word.speaker for word in alternative.words])
    assert [each.speaker for each in answer.results.utterances] == [0, 1]
    assert " ".join(each.transcript for each in answer.results.utterances) == alternative.transcript
    assert [each.speaker for each in alternative.paragraphs.paragraphs] == [0, 1]
    assert alternative.paragraphs.transcript.startswith("Speaker 0: One two")


# OpenAI


async def test_a_diarized_answer_has_a_segment_for_each_turn(sdk: Any) -> None:
    answer = await sdk.audio.transcriptions.create(
        file=("talk.wav", recording(pcm_s16le(sound(TALK)))),
        model=DIARIZING,
        response_format="diarized_json",
        chunking_strategy="auto",
    )
    assert isinstance(answer, openai.types.audio.TranscriptionDiarized)
    assert [segment.speaker for segment in answer.segments] == ["A", "B"]
    assert " ".join(segment.text for segment in answer.segments) == answer.text
    assert answer.segments[0].end <= answer.segments[1].start
    assert answer.duration == 5.4


async def test_a_diarized_stream_has_a_segment_behind_the_text_of_each_turn(sdk: Any) -> None:
    events = await sdk.audio.transcriptions.create(
        file=("talk.wav", recording(pcm_s16le(sound(TALK)))),
        model=DIARIZING,
        response_format="diarized_json",
        stream=True,
    )
    kinds = [(event.type, getattr(event, "speaker", None)) async for event in events]
    assert kinds == [
        ("transcript.text.delta", None),
        ("transcript.text.segment", "A"),
        ("transcript.text.segment", "B"),
        ("transcript.text.done", None),
    ]


async def test_nobody_is_recognised_by_another_recording(sdk: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        await sdk.audio.transcriptions.create(
            file=("talk.wav", recording(pcm_s16le(sound(TALK)))),
            model=DIARIZING,
            response_format="diarized_json",
            known_speaker_names=["Ada"],
            known_speaker_references=["data:audio/wav;base64," + base64.b64encode(b"RIFF").decode()],
        )
    assert refusal.value.param == "known_speaker_names"


async def test_a_diarized_answer_is_refused_where_there_are_no_speakers(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}v1", api_key="any", max_retries=0) as made:
        with pytest.raises(openai.BadRequestError) as refusal:
            await made.audio.transcriptions.create(
                file=("talk.wav", recording(pcm_s16le(sound(TALK)))), model=DIARIZING, response_format="diarized_json"
            )
    assert (refusal.value.code, refusal.value.param) == ("unsupported_speakers", "response_format")


async def test_a_turn_of_the_realtime_api_has_a_segment_for_each_speaker(sdk: Any) -> None:
    async with sdk.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        asked = {"format": {"type": "audio/pcm", "rate": RATE_HZ}, "transcription": {"model": DIARIZING}}
        await connection.session.update(session={"type": "transcription", "audio": {"input": asked}})
        await events_until(connection, "session.updated")
        await send(connection, pcm_s16le(sound(TALK, RATE_HZ)))
        events = await events_until(connection, COMPLETED)
    segments = [event for event in events if event.type == "conversation.item.input_audio_transcription.segment"]
    assert [segment.speaker for segment in segments] == ["A", "B"]
    assert {segment.item_id for segment in segments} == {events[-1].item_id}
    assert " ".join(segment.text for segment in segments) == events[-1].transcript
    assert segments[0].end <= segments[1].start
    assert len({segment.id for segment in segments}) == 2


async def test_a_session_that_asks_for_speakers_where_there_are_none_stays_as_it_was(url: str) -> None:
    websocket_url = url.replace("http", "ws") + "v1"
    made = openai.AsyncOpenAI(base_url=f"{url}v1", websocket_base_url=websocket_url, api_key="any")
    async with made, made.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        asked = {"transcription": {"model": DIARIZING}}
        await connection.session.update(session={"type": "transcription", "audio": {"input": asked}})
        error = (await events_until(connection, "error"))[-1].error
        assert (error.code, error.param) == ("unsupported_speakers", "session.audio.input.transcription.model")
        await connection.session.update(session={"type": "transcription", "audio": {"input": {"transcription": None}}})
        await events_until(connection, "session.updated")
