"""Send recorded audio in real time, at the speed at which it was recorded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable

REAL_TIME_MESSAGE_MS = 40
"""Audio in a message (browsers send 20 to 100 ms). It adds half of its duration to every latency."""


async def real_time(
    chunks: AsyncIterable[bytes],
    bytes_per_s: int,
    message_ms: int = REAL_TIME_MESSAGE_MS,
    began_s: Callable[[], float | None] = lambda: None,
) -> AsyncGenerator[bytes, None]:
    """Yield recorded audio like a microphone: in short messages, each when its end would have been recorded.

    Args:
        chunks: the audio, in pieces of any length.
        bytes_per_s: bytes of one second of audio.
        message_ms: audio in a message; the last one may have less.
        began_s: called once there is a chunk. It returns the loop's time at which the audio began; audio that is late
            is not delayed. None: it begins now.
    """
    clock = asyncio.get_running_loop().time
    message_bytes = bytes_per_s * message_ms // 1000
    begin_s: float | None = None
    n_bytes = 0
    waiting = bytearray()
    async for chunk in chunks:
        # The clock starts at the first chunk, so that a decoder that starts slowly is not followed by a burst.
        if begin_s is None:
            begin_s = began_s()
        if begin_s is None:
            begin_s = clock()
        waiting += chunk
        while len(waiting) >= message_bytes:
            n_bytes += message_bytes
            # Measure from the beginning, so that the delays of wake-ups do not add up.
            await asyncio.sleep(max(0.0, begin_s + n_bytes / bytes_per_s - clock()))
            yield bytes(waiting[:message_bytes])
            del waiting[:message_bytes]
    if waiting and begin_s is not None:
        await asyncio.sleep(max(0.0, begin_s + (n_bytes + len(waiting)) / bytes_per_s - clock()))
        yield bytes(waiting)
