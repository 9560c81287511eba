"""The receiver process: it fetches a broadcast, and is ended as a decoder process is."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from livecaption.audio.formats import Samples
from livecaption.cli.streaming import RECEIVER
from livecaption.decoding.pool import ContainerDecoder, DecoderPool
from livecaption.errors import InvalidAudio
from livecaption.evaluation.process_end import ProcessEnd


def limits_of(pid: int) -> dict[str, str]:
    lines = Path("/proc", str(pid), "limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


@dataclass(frozen=True)
class Receiving:
    """A receiver that waits for an encoder. `sending` is done once it has its address, which needs `pieces`."""

    pool: DecoderPool
    pieces: AsyncGenerator[Samples, None]
    sending: "asyncio.Future[None]"


@asynccontextmanager
async def receiving(port: int) -> AsyncIterator[Receiving]:
    """Let a receiver wait at the port for an encoder."""
    pool = DecoderPool(keep_spare_s=0, program=RECEIVER)
    receiver = ContainerDecoder(pool)
    sending = asyncio.ensure_future(receiver.push(f"rtmp://127.0.0.1:{port}/live/x?listen=1".encode()))
    receiver.finish()
    try:
        async with aclosing(receiver.samples()) as pieces:
            yield Receiving(pool, pieces, sending)
    finally:
        await sending
        await pool.close()


async def test_a_broadcast_arrives_while_its_encoder_sends(unused_tcp_port: int) -> None:
    url = f"rtmp://127.0.0.1:{unused_tcp_port}/live/x"
    encoder = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.encoder", url, "60")
    try:
        async with receiving(unused_tcp_port) as its:
            n_samples = 0
            async for samples in its.pieces:
                assert samples.dtype == np.float32
                n_samples += len(samples)
                if n_samples >= 8000:
                    break
    finally:
        encoder.kill()
        await encoder.wait()
    assert its.pool.pids == []


async def test_a_receiver_that_is_killed_ends_its_audio(unused_tcp_port: int) -> None:
    async with receiving(unused_tcp_port) as its:
        coming = asyncio.ensure_future(anext(its.pieces))
        await its.sending
        [pid] = its.pool.pids
        with ProcessEnd(pid) as process:
            os.kill(pid, signal.SIGKILL)
            await process.wait(5.0)
        with pytest.raises(InvalidAudio):
            await coming


async def test_a_receiver_has_the_limits_of_a_decoder(unused_tcp_port: int) -> None:
    async with receiving(unused_tcp_port) as its:
        coming = asyncio.ensure_future(anext(its.pieces))
        await its.sending
        [pid] = its.pool.pids
        limits = limits_of(pid)
        assert limits["Max file size"] == "0"
        assert int(limits["Max open files"]) <= 16
        coming.cancel()
        await asyncio.wait({coming})
