"""In each way that the server may end, its decoders end too, whether they wait, decode or start at that moment."""

import os
import random
import signal
import sys
import tempfile
from asyncio import sleep
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from livecaption.ipc.layers import SWITCH, Layer
from tests.support import decoder_parent
from tests.support.processes import ProcessEnd, ServerProcess

pytestmark = pytest.mark.processes

GONE_WITHIN_S = 0.25
STARTING_GONE_WITHIN_S = 10.0
"""The interpreter of a decoder starts before its lifeline is set up, which takes seconds on a busy machine."""
ALL = list(Layer)


@asynccontextmanager
async def parent(doing: str, end: str = "leave", layers: list[Layer] = ALL) -> AsyncIterator[ServerProcess]:
    """Run `decoder_parent` with these layers and no others. Its remaining processes are killed at the end."""
    without = ",".join(layer.value for layer in Layer if layer not in layers)
    with tempfile.TemporaryDirectory(prefix="livecaption-test-") as directory:
        arguments = [sys.executable, decoder_parent.__file__, end, doing]
        path = str(Path(__file__).parent.parent.parent)
        environment = {SWITCH: without, "PYTHONPATH": path}
        process = ServerProcess(arguments, Path(directory), terminal=False, environment=environment)
        try:
            yield process
        finally:
            process.dispose()


async def decoder_of(server: ServerProcess) -> ProcessEnd:
    return ProcessEnd(int((await server.logged(r"decoder (\d+)"))[1]))


async def gone(server: ServerProcess, decoder: ProcessEnd, within_s: float) -> None:
    await server.exited(within_s=5.0)
    with decoder:
        await decoder.wait(within_s, what=f"the decoder; its server printed:\n{server.output}")
    await server.tree_gone(STARTING_GONE_WITHIN_S)  # the spare process may be about to start


@pytest.mark.parametrize("doing", ["wait", "give"])
@pytest.mark.parametrize("layers", [ALL, [Layer.PARENT_WATCH], [Layer.PARENT_DEATH_SIGNAL], []], ids=repr)
async def test_the_decoders_of_a_killed_server_are_gone(doing: str, layers: list[Layer]) -> None:
    """This holds without any layer too, because a decoder that reads or writes meets the end of the socket."""
    async with parent(doing, layers=layers) as server:
        decoder = await decoder_of(server)
        await server.logged("ready")
        server.send(signal.SIGKILL)
        await gone(server, decoder, GONE_WITHIN_S)


@pytest.mark.usefixtures("cold_processes")
async def test_a_decoder_that_was_stopped_is_gone_with_a_killed_server() -> None:
    """The process can do nothing itself: the kernel ends it."""
    async with parent("wait", layers=[Layer.PARENT_DEATH_SIGNAL]) as server:
        decoder = await decoder_of(server)
        await server.logged("ready")
        os.kill(decoder.pid, signal.SIGSTOP)
        server.send(signal.SIGKILL)
        await gone(server, decoder, GONE_WITHIN_S)


async def test_without_that_layer_a_stopped_decoder_would_stay() -> None:
    async with parent("wait", layers=[Layer.PARENT_WATCH]) as server:
        decoder = await decoder_of(server)
        await server.logged("ready")
        os.kill(decoder.pid, signal.SIGSTOP)
        server.send(signal.SIGKILL)
        await server.exited(within_s=5.0)
        with decoder, pytest.raises(TimeoutError):
            await decoder.wait(GONE_WITHIN_S)


@pytest.mark.usefixtures("cold_processes")
@pytest.mark.parametrize("seed", range(4))
async def test_a_decoder_is_gone_if_the_server_is_killed_while_it_starts(seed: int) -> None:
    async with parent("start") as server:
        decoder = await decoder_of(server)
        await sleep(random.Random(seed).uniform(0.0, 0.3))
        server.send(signal.SIGKILL)
        await gone(server, decoder, STARTING_GONE_WITHIN_S)


@pytest.mark.parametrize(("end", "status"), [("leave", 0), ("fail", 1), ("exit_at_once", 0)])
async def test_decoders_that_nobody_stopped_are_gone_with_their_server(end: str, status: int) -> None:
    async with parent("give", end=end) as server:
        decoder = await decoder_of(server)
        await server.logged("ready")
        server.send(signal.SIGUSR2)
        await gone(server, decoder, GONE_WITHIN_S)
        assert await server.exited(within_s=1.0) == status


async def test_stop_signals_leave_a_decoder_alone() -> None:
    """The signals are for the server, which needs its decoders for the last samples of its streams."""
    async with parent("wait") as server:
        with await decoder_of(server) as decoder:
            await server.logged("ready")
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(decoder.pid, number)
            with pytest.raises(TimeoutError):
                await decoder.wait(0.2)
