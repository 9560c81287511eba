"""The receiver process: it fetches a broadcast, and is ended as a decoder process is."""

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from livecaption.cli.streaming import RECEIVER
from livecaption.decoding.pool import ContainerDecoder, DecoderPool
from livecaption.errors import InvalidAudio
from livecaption.evaluation.process_end import ProcessEnd


def limits_of(pid: int) -> dict[str, str]:
    lines = Path("/proc", str(pid), "limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


async def test_a_broadcast_arrives_while_its_encoder_sends(unused_tcp_port: int) -> None:
    pool = DecoderPool(keep_spare_s=0, program=RECEIVER)
    url = f"rtmp://127.0.0.1:{unused_tcp_port}/live/x"
    encoder = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.encoder", url, "60")
    receiver = ContainerDecoder(pool)
    sending = asyncio.ensure_future(receiver.push(f"{url}?listen=1".encode()))
    receiver.finish()
    try:
        async with aclosing(receiver.samples()) as pieces:
            n_samples = 0
            async for samples in pieces:
                assert samples.dtype == np.float32
                n_samples += len(samples)
                if n_samples >= 8000:
                    break
    finally:
        encoder.kill()
        await encoder.wait()
        await sending
        await pool.close()
    assert pool.pids == []


async def test_a_receiver_that_is_killed_ends_its_audio(unused_tcp_port: int) -> None:
    pool = DecoderPool(keep_spare_s=0, program=RECEIVER)
    receiver = ContainerDecoder(pool)
    sending = asyncio.ensure_future(receiver.push(f"rtmp://127.0.0.1:{unused_tcp_port}/live/x?listen=1".encode()))
    receiver.finish()
    async with aclosing(receiver.samples()) as pieces:
        coming = asyncio.ensure_future(anext(pieces))
        await sending
        [pid] = pool.pids
        with ProcessEnd(pid) as process:
            os.kill(pid, signal.SIGKILL)
            await process.wait(5.0)
        with pytest.raises(InvalidAudio):
            await coming
    await pool.close()


async def test_a_receiver_has_the_limits_of_a_decoder(unused_tcp_port: int) -> None:
    pool = DecoderPool(keep_spare_s=0, program=RECEIVER)
    receiver = ContainerDecoder(pool)
    sending = asyncio.ensure_future(receiver.push(f"rtmp://127.0.0.1:{unused_tcp_port}/live/x?listen=1".encode()))
    receiver.finish()
    async with aclosing(receiver.samples()) as pieces:
        coming = asyncio.ensure_future(anext(pieces))
        await sending
        [pid] = pool.pids
        limits = limits_of(pid)
        assert limits["Max file size"] == "0"
        assert int(limits["Max open files"]) <= 16
        coming.cancel()
        await asyncio.wait({coming})
    await pool.close()
