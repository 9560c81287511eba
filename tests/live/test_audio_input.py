"""The audio of one stream, on its way to the pipeline."""

import asyncio

import pytest

from livecaption.audio.formats import AudioFormat
from livecaption.decoding.pool import DecoderPool
from livecaption.errors import LivecaptionError, WrongState
from livecaption.live.audio_input import PIECE_BYTES, AudioInput
from livecaption.live.config import AudioLimits
from livecaption.live.state import Ending, Lifecycle
from livecaption.pipeline.arrival import ArrivalClock
from livecaption.pipeline.stream import Output, StreamPipeline
from tests.support.containers import wav
from tests.support.eventually import eventually
from tests.support.pipeline import new_stream

SECOND = bytes(32_000)


def input_of(pipeline: StreamPipeline, lifecycle: Lifecycle, **limits: float) -> AudioInput:
    def ignore(_: object) -> None:
        pass

    return AudioInput(pipeline, ArrivalClock(), lifecycle, ignore, DecoderPool(), ignore, AudioLimits(**limits))


async def test_small_and_large_messages_are_taken_completely() -> None:
    pipeline = new_stream()
    audio = input_of(pipeline, Lifecycle())
    for message in (SECOND[:640], b"", SECOND, SECOND * 3):
        await audio.receive(message)
    assert pipeline.received_ms == 4020


async def test_audio_behind_stop_is_reported_once_and_dropped() -> None:
    pipeline, lifecycle = new_stream(), Lifecycle()
    audio = input_of(pipeline, lifecycle)
    lifecycle.end_audio(Ending("stop"))
    with pytest.raises(WrongState, match="audio after stop") as refusal:
        await audio.receive(SECOND)
    assert not refusal.value.fatal
    await audio.receive(SECOND)
    assert pipeline.received_ms == 0


async def test_later_audio_gets_its_time_on_the_wall_in_the_next_silence_after_audio_was_lost() -> None:
    pipeline, clock = new_stream(), ArrivalClock()
    audio = AudioInput(pipeline, clock, Lifecycle(), lambda _: None, DecoderPool(), lambda _: None, AudioLimits())
    await audio.receive(SECOND)
    clock.has_lost_audio = True
    await eventually(lambda: not clock.has_lost_audio)
    audio.cancel()


async def test_the_rest_of_a_message_is_dropped_where_the_connection_breaks() -> None:
    """Its publisher sends it again from the time in `ready`."""
    pipeline = new_stream()
    audio = input_of(pipeline, Lifecycle(), burst_s=0.0)  # a pause behind each piece
    receiving = asyncio.ensure_future(audio.receive(bytes(PIECE_BYTES * 3)))
    await asyncio.sleep(0)
    audio.interrupt()
    await receiving
    assert pipeline.received_ms == PIECE_BYTES // 32


@pytest.mark.parametrize("encoding", ["pcm_s16le", "auto"])
async def test_a_command_counts_behind_the_audio_that_came_before_it(encoding: str) -> None:
    pipeline, lifecycle, decoders = new_stream(audio=AudioFormat(encoding)), Lifecycle(), DecoderPool()
    audio = AudioInput(pipeline, ArrivalClock(), lifecycle, lambda _: None, decoders, lambda _: None, AudioLimits())
    behind_ms: list[int] = []

    def command(now_s: float) -> list[Output]:
        del now_s
        behind_ms.append(pipeline.received_ms)
        return []

    await audio.receive(SECOND * 3 if encoding == "pcm_s16le" else wav(SECOND * 3))
    audio.apply_behind(command)
    await eventually(lambda: behind_ms)
    assert behind_ms == [pytest.approx(3000, abs=100)]
    await audio.receive(SECOND)
    audio.apply_behind(command)
    lifecycle.leave(Ending("restarting"))
    lifecycle.end()
    audio.cancel()
    assert len(behind_ms) == (2 if encoding == "pcm_s16le" else 1), "another server goes on"
    await decoders.close()


async def test_pcm_is_all_taken_when_it_is_finished_and_a_container_is_not() -> None:
    assert input_of(new_stream(), Lifecycle()).finish(disconnected=False)
    ended: list[LivecaptionError | None] = []
    pipeline = new_stream(audio=AudioFormat("auto"))
    limits = AudioLimits(last_decoding_draining_s=0.0)
    container = AudioInput(pipeline, ArrivalClock(), Lifecycle(), lambda _: None, DecoderPool(), ended.append, limits)
    assert not container.finish(disconnected=False)
    container.drain()
    await eventually(lambda: container.finish(disconnected=False))
    assert ended == [None]
