"""Recorded audio in real time: the sizes and times of its messages."""

import asyncio
from collections.abc import AsyncIterator

from livecaption.client import real_time


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_real_time_sends_short_messages_each_once_its_end_would_have_been_recorded() -> None:
    """At 1 kB/s each message has 40 bytes, however the audio was cut, and none is early."""
    clock = asyncio.get_running_loop().time
    begin_s = clock()
    audio = bytes(range(110))
    messages = [(chunk, clock() - begin_s) async for chunk in real_time(chunks_of(audio[:90], audio[90:]), 1000)]
    assert [chunk for chunk, _ in messages] == [audio[:40], audio[40:80], audio[80:]]
    assert all(at_s >= due_s - 0.001 for (_, at_s), due_s in zip(messages, [0.04, 0.08, 0.11], strict=True))


async def test_audio_that_is_late_is_not_delayed_further() -> None:
    """A pipe had a second of audio before its first chunk could be read; the rest has the pace of recorded audio."""
    clock = asyncio.get_running_loop().time
    begin_s = clock()
    messages = real_time(chunks_of(bytes(1000), bytes(100)), 1000, began_s=lambda: begin_s - 1.0)
    arrivals = [clock() - begin_s async for _ in messages]
    assert len(arrivals) == 28  # 40 bytes each, and the rest
    assert arrivals[24] < 0.5
    assert arrivals[-1] >= 0.1
