"""The number of recordings at a time, and their end."""

import asyncio
import io
from contextlib import ExitStack

import pytest

from livecaption.audio.formats import AudioFormat
from livecaption.config import DEFAULTS
from livecaption.decoding.pool import DecoderPool
from livecaption.errors import InvalidMessage, LimitReached, Unavailable
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.recordings.admission import MAX_ARRIVING, MAX_AT_A_TIME, Recordings
from tests.support.eventually import eventually
from tests.support.recordings import ONE_UTTERANCE
from tests.support.session_parts import IdleWorkers

RAW = StreamOptions(audio=AudioFormat("pcm_s16le", 16_000, 1), partials=False)


def recordings(workers: IdleWorkers | None = None, drain_timeout_s: float = 1.05) -> Recordings:
    limits = DEFAULTS.live.session.audio
    return Recordings(workers or IdleWorkers(), DecoderPool(), limits, drain_timeout_s=drain_timeout_s)


async def test_some_recordings_are_transcribed_at_a_time_and_others_wait() -> None:
    workers = IdleWorkers()
    all_ = recordings(workers)

    async def transcribe() -> None:
        async with all_.transcribing(io.BytesIO(ONE_UTTERANCE), RAW, lambda _: None) as (_, finals):
            async for _ in finals:
                pass

    tasks = [asyncio.ensure_future(transcribe()) for _ in range(MAX_AT_A_TIME + 1)]
    await eventually(lambda: len(workers.submitted) == MAX_AT_A_TIME)
    assert len(workers.attached) == MAX_AT_A_TIME
    tasks[0].cancel()
    await eventually(lambda: len(workers.submitted) == MAX_AT_A_TIME + 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert workers.attached == {}


def test_a_client_sends_few_recordings_at_a_time_and_keeps_no_other_out() -> None:
    all_ = recordings()
    with ExitStack() as arriving:
        for _ in range(MAX_ARRIVING):
            arriving.enter_context(all_.arriving("one"))
        with pytest.raises(LimitReached) as refusal, all_.arriving("one"):
            pass
        assert (refusal.value.code, refusal.value.http_status) == ("too_many_uploads", 429)
        with all_.arriving("other"), all_.arriving(None), all_.arriving(None), all_.arriving(None):
            pass
    with all_.arriving("one"):
        pass


async def test_a_model_that_cannot_do_what_is_asked_for_refuses() -> None:
    options = StreamOptions(transcription=TranscriptionOptions("de"))
    with pytest.raises(InvalidMessage):
        async with recordings().transcribing(io.BytesIO(), options, lambda _: None):
            pass


async def test_a_drain_cuts_off_what_is_not_done_in_time_and_takes_nothing_more() -> None:
    all_ = recordings()
    begun = asyncio.Event()

    async def hold() -> None:
        async with all_.admitted("openai"):
            begun.set()
            await asyncio.sleep(100)

    holding = asyncio.ensure_future(hold())
    await begun.wait()
    await all_.drain()
    with pytest.raises(Unavailable, match="stopping"):
        await holding
    with pytest.raises(Unavailable, match="stopping"):
        async with all_.admitted("openai"):
            pass
    assert len(all_) == 0


async def test_a_timeout_within_the_block_is_not_the_end_of_the_server() -> None:
    with pytest.raises(TimeoutError):
        async with recordings().admitted("openai"), asyncio.timeout(0.01):
            await asyncio.sleep(100)
