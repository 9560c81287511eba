"""A container decoded beside the loop."""

import asyncio
import io
import threading
import wave

import numpy as np
import pytest

from livecaption.errors import InvalidAudio
from livecaption.server.decoding import MAX_WAITING_BYTES, ContainerDecoder, Samples


def wav(n_samples: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(np.arange(n_samples, dtype="<i2").tobytes())
    return file.getvalue()


class Listener:
    def __init__(self) -> None:
        self.n_samples = 0
        self.threads: set[threading.Thread] = set()
        self.ends: list[InvalidAudio | None] = []

    def take(self, samples: Samples) -> None:
        self.threads.add(threading.current_thread())
        self.n_samples += len(samples)


@pytest.mark.parametrize("chunk_bytes", [7_001, 1_000_000])
async def test_all_samples_arrive_in_the_loop_and_then_the_end_once(chunk_bytes: int) -> None:
    listener = Listener()
    decoder = ContainerDecoder(listener.take, listener.ends.append)
    data = wav(400_000)
    for start in range(0, len(data), chunk_bytes):
        await decoder.push(data[start : start + chunk_bytes])
    decoder.finish()
    await decoder.ended
    assert listener.n_samples == 400_000
    assert listener.ends == [None]
    assert listener.threads == {threading.main_thread()}


async def test_rubbish_ends_with_an_error_and_whoever_pushes_is_not_held_up() -> None:
    listener = Listener()
    decoder = ContainerDecoder(listener.take, listener.ends.append)
    async with asyncio.timeout(20):
        for _ in range(5):
            await decoder.push(bytes(range(256)) * (MAX_WAITING_BYTES // 256))
        decoder.finish()
        await decoder.ended
    (error,) = listener.ends
    assert error is not None
    assert (error.code, error.fatal) == ("invalid_container", True)


async def test_a_decoder_that_is_given_up_leaves_no_thread_behind() -> None:
    listener = Listener()
    decoder = ContainerDecoder(listener.take, listener.ends.append)
    await decoder.push(wav(1000)[:100])
    decoder.finish()
    await decoder.ended
    for thread in threading.enumerate():
        if thread.name == "container-decoder":
            thread.join(10)
            assert not thread.is_alive()
