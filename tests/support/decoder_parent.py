"""A process with container decoders that ends in a given way, for the tests of their lifeline.

The first argument is its end on SIGUSR2 (`leave`, `fail`, `exit_at_once`). The second one is the state of its decoders
then: they `wait` for bytes, `give` more samples than are read, or `start`.
"""

import asyncio
import os
import signal
import sys

from livecaption.decoding.pool import DecoderPool
from tests.support.containers import flac_of_silence


async def main(end: str, doing: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, ended.set)
    pool = DecoderPool()
    taking = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)  # it has begun
    print(f"decoder {pool.pids[0]}", file=sys.stderr)
    if doing != "start":
        decoder = await taking
        if doing == "give":
            await decoder.push(flac_of_silence(100))
            async for _ in decoder.messages():
                break
        print("ready", file=sys.stderr)
    await ended.wait()
    if end == "fail":
        raise RuntimeError("the server failed")
    if end == "exit_at_once":
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
