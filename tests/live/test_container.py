"""A container that is decoded for a stream, in a process of its own."""

import asyncio
import os
import signal

import numpy as np
import pytest

from livecaption.audio.formats import Samples
from livecaption.decoding.pool import DecoderPool
from livecaption.errors import InvalidAudio, InvalidMessage, LivecaptionError
from livecaption.live.container import ContainerFeed
from tests.support import containers
from tests.support.containers import Track, container, loud_spans, tone
from tests.support.eventually import eventually


def wav(seconds: float) -> bytes:
    return containers.wav(bytes(round(32_000 * seconds)))


class Stream:
    """Takes samples, and notes the end."""

    def __init__(self, fault: Exception | None = None, n_channels: int | None = None) -> None:
        self.n_channels = n_channels
        self._taken: list[Samples] = []
        self.ended: asyncio.Future[LivecaptionError | None] = asyncio.get_running_loop().create_future()
        self._fault = fault

    async def take(self, samples: Samples) -> None:
        if self._fault is not None:
            raise self._fault
        self._taken.append(samples)

    @property
    def samples(self) -> Samples:
        return np.concatenate(self._taken)

    @property
    def n_samples(self) -> int:
        return len(self.samples)


async def end_of(data: bytes, stream: Stream) -> LivecaptionError | None:
    """Feed all of this, and return what the end was reported with."""
    decoders = DecoderPool()
    feed = ContainerFeed(decoders, stream.take, stream.ended.set_result, stream.n_channels)
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


async def test_channels_that_are_kept_apart_are_as_many_as_asked_for() -> None:
    stereo = containers.wav(bytes(2 * 32_000), n_channels=2)
    for data, n_channels in ((wav(1), 1), (wav(1), 2), (stereo, 2), (stereo, 3)):
        stream = Stream(n_channels=n_channels)
        assert await end_of(data, stream) is None
        assert stream.samples.shape == (16_000, n_channels)


async def test_a_container_with_more_channels_than_asked_for_is_refused() -> None:
    error = await end_of(containers.wav(bytes(6 * 32_000), n_channels=6), Stream(n_channels=2))
    assert isinstance(error, InvalidMessage)
    assert (error.code, error.fatal) == ("unsupported_channels", True)
    assert error.message == "the container has 6 channels, but start names 2 in `channels`"


async def test_samples_are_at_their_presentation_time() -> None:
    """A client that streams a film, or a recording with a hole, gets captions at the times that its player shows."""
    stream = Stream()
    track = Track(tone(duration_s=2.0), "libopus", begin_s=4.9, hole=(1.0, 10.0))
    assert await end_of(container("webm", [track]), stream) is None
    assert loud_spans(stream.samples) == [
        (pytest.approx(4.9, abs=0.1), pytest.approx(5.9, abs=0.1)),
        (pytest.approx(15.9, abs=0.1), pytest.approx(16.9, abs=0.1)),
    ]


async def test_a_client_may_send_each_piece_as_a_whole_wav() -> None:
    stream = Stream()
    assert await end_of(wav(0.5) * 6, stream) is None
    assert stream.n_samples == 48_000


async def test_a_stream_that_is_no_container_ends_with_an_error() -> None:
    assert isinstance(await end_of(bytes(range(256)) * 800, Stream()), InvalidAudio)


async def test_a_fault_of_ours_ends_the_stream_and_reports_no_more_than_that(caplog: pytest.LogCaptureFixture) -> None:
    error = await end_of(wav(1), Stream(RuntimeError("a mistake")))
    assert error is not None
    assert (error.code, error.message) == ("internal", "internal error")
    assert "a mistake" in caplog.text
    caplog.clear()  # it was asked for


async def test_calls_that_wait_for_bytes_come_in_order_behind_the_samples_of_these() -> None:
    stream, decoders, done = Stream(), DecoderPool(), asyncio.Event()
    called: list[tuple[str, int]] = []
    feed = ContainerFeed(decoders, stream.take, stream.ended.set_result)
    feed.when_decoded(lambda: called.append(("at once", 0)))
    assert called == [("at once", 0)], "there is nothing to wait for"
    await feed.push(wav(3))
    feed.when_decoded(lambda: called.append(("first", stream.n_samples)))
    await feed.push(bytes(2 * 32_000))
    feed.when_decoded(lambda: called.append(("second", stream.n_samples)))
    feed.when_decoded(done.set)
    async with asyncio.timeout(20):
        await done.wait()
    (_, n_first), (_, n_second) = called[1:]
    assert called[1:] == [("first", n_first), ("second", n_second)]
    assert n_first == pytest.approx(48_000, abs=1600), "FFmpeg keeps back less than 0.1 s until more bytes come"
    assert n_second == pytest.approx(80_000, abs=1600)
    feed.when_decoded(lambda: called.append(("at once", 0)))
    assert called[-1] == ("at once", 0), "all that came is decoded"
    feed.cancel()
    await decoders.close()


@pytest.mark.parametrize("dies", [True, False], ids=["it dies", "it is stopped"])
async def test_calls_that_wait_for_bytes_come_before_the_end_of_the_decoder_is_reported(dies: bool) -> None:
    stream, decoders, is_decoded = Stream(), DecoderPool(keep_spare_s=0.0), asyncio.Event()
    called: list[bool] = []
    feed = ContainerFeed(decoders, stream.take, stream.ended.set_result)
    await feed.push(wav(3))
    feed.when_decoded(is_decoded.set)
    async with asyncio.timeout(20):
        await is_decoded.wait()
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGSTOP)
        await feed.push(bytes(32_000))
        feed.when_decoded(lambda: called.append(stream.ended.done()))
        assert not called
        os.kill(pid, signal.SIGKILL) if dies else feed.stop_after(0.0)
        assert isinstance(await stream.ended, InvalidAudio) is dies
    await feed.push(b"more")
    feed.when_decoded(lambda: called.append(stream.ended.done()))
    assert called == [False, True]
    await decoders.close()


async def test_a_cancelled_decoding_reports_nothing_and_a_stopped_one_reports_its_end() -> None:
    for stops in (False, True):
        stream = Stream()
        feed = ContainerFeed(DecoderPool(), stream.take, stream.ended.set_result)
        feed.stop_after(0.0) if stops else feed.cancel()
        await eventually(lambda: feed.is_done)  # noqa: B023
        assert stream.ended.done() is stops
