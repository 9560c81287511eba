"""A container that is decoded for a stream, in a process of its own."""

import asyncio
import io
import wave

import pytest

from livecaption.audio.formats import Samples
from livecaption.decoding.pool import DecoderPool
from livecaption.errors import InvalidAudio, LivecaptionError
from livecaption.live.container import ContainerFeed
from tests.support.eventually import eventually


def wav(seconds: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(bytes(32_000 * seconds))
    return file.getvalue()


class Stream:
    """Takes samples, and notes the end."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.n_samples = 0
        self.ended: asyncio.Future[LivecaptionError | None] = asyncio.get_running_loop().create_future()
        self._fault = fault

    async def take(self, samples: Samples) -> None:
        if self._fault is not None:
            raise self._fault
        self.n_samples += len(samples)


async def end_of(data: bytes, stream: Stream) -> LivecaptionError | None:
    """Feed all of this, and return what the end was reported with."""
    decoders = DecoderPool()
    feed = ContainerFeed(decoders, stream.take, stream.ended.set_result)
    await feed.push(data)
    feed.finish()
    try:
        async with asyncio.timeout(20):
            return await stream.ended
    finally:
        await decoders.close()


async def test_all_samples_are_handed_over_before_the_end() -> None:
    stream = Stream()
    assert await end_of(wav(3), stream) is None
    assert stream.n_samples == 48_000


async def test_a_stream_that_is_no_container_ends_with_an_error() -> None:
    assert isinstance(await end_of(bytes(range(256)) * 800, Stream()), InvalidAudio)


async def test_a_fault_of_ours_ends_the_stream_and_reports_no_more_than_that(caplog: pytest.LogCaptureFixture) -> None:
    error = await end_of(wav(1), Stream(RuntimeError("a mistake")))
    assert error is not None
    assert (error.code, error.message) == ("internal", "internal error")
    assert "a mistake" in caplog.text
    caplog.clear()  # it was asked for


async def test_a_cancelled_decoding_reports_nothing_and_a_stopped_one_reports_its_end() -> None:
    for stops in (False, True):
        stream = Stream()
        feed = ContainerFeed(DecoderPool(), stream.take, stream.ended.set_result)
        feed.stop_after(0.0) if stops else feed.cancel()
        await eventually(lambda: feed.is_done)  # noqa: B023
        assert stream.ended.done() is stops
