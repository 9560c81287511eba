"""Send recorded audio in real time, at the speed at which it was recorded."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

REAL_TIME_MESSAGE_MS = 40
"""Audio in a message (browsers send 20 to 100 ms). It adds half of its duration to every latency."""


async def real_time(
    chunks: AsyncIterable[bytes], bytes_per_s: int, message_ms: int = REAL_TIME_MESSAGE_MS
) -> AsyncIterator[bytes]:
    """Yield recorded audio like a microphone: in short messages, each when its end would have been recorded.

    Args:
        chunks: the audio, in pieces of any length.
        bytes_per_s: bytes of one second of audio.
        message_ms: audio in a message; the last one may have less.
    """
    clock = asyncio.get_running_loop().time
    message_bytes = bytes_per_s * message_ms // 1000
    begin_s: float | None = None
    n_bytes = 0
    waiting = bytearray()
    async for chunk in chunks:
        # The clock starts at the first chunk, so that a decoder that starts slowly is not followed by a burst.
        begin_s = begin_s or clock()
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
