"""Decoder processes on demand, with a spare one.

The first container stream starts its process. From then on a spare one is kept ready, so that the next stream does not
wait for Python and FFmpeg to load. It ends when no container has come for a while.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import BinaryIO

from livecaption.audio.formats import Samples
from livecaption.decoding.decoder import DecoderProcess
from livecaption.decoding.messages import Decoded, Ended, Opened
from livecaption.errors import Unavailable

MAX_STARTING = 2
"""Processes that start at a time: streams that come all at once must not take the cores from those that speak."""
KEEP_SPARE_S = 300.0
CLOSE_TIMEOUT_S = 1.0

logger = logging.getLogger(__name__)


class DecoderPool:
    """All decoder processes of a server. Used by the thread of its event loop.

    Args:
        keep_spare_s: how long the process that waits for the next container is kept.
    """

    def __init__(self, *, keep_spare_s: float = KEEP_SPARE_S) -> None:
        self._keep_spare_s = keep_spare_s
        self._processes: set[DecoderProcess] = set()
        self._spare: asyncio.Task[DecoderProcess] | None = None
        self._spare_expires: asyncio.TimerHandle | None = None
        self._starting = asyncio.Semaphore(MAX_STARTING)

    @property
    def pids(self) -> list[int]:
        """The processes that there are, the spare one included."""
        return [process.pid for process in self._processes]

    async def take(self, file: BinaryIO | None = None) -> DecoderProcess:
        """Give a process that is ready, for one container. It is the caller's to `end`.

        Args:
            file: the container is read from there; else it is pushed.

        Raises:
            Unavailable: none could be started.
        """
        if file is not None:
            return await self._start(file)
        process = await self._take_spare() or await self._start()
        self._keep_spare()
        return process

    async def close(self) -> None:
        """End all of them, and wait for that."""
        if self._spare_expires is not None:
            self._spare_expires.cancel()
        if self._spare is not None:
            self._spare.cancel()
        ending = [process.gone for process in self._processes]
        for process in list(self._processes):
            process.end()
        if ending:
            await asyncio.wait(ending, timeout=CLOSE_TIMEOUT_S)

    async def _take_spare(self) -> DecoderProcess | None:
        spare, self._spare = self._spare, None
        if spare is None:
            return None
        try:
            process = await asyncio.shield(spare)
        except Unavailable:
            return None
        except asyncio.CancelledError:
            _end_started(spare)
            raise
        return None if process.gone.done() else process

    def _keep_spare(self) -> None:
        if self._spare is None:
            self._spare = asyncio.ensure_future(self._start())
            self._spare.add_done_callback(lambda spare: spare.cancelled() or spare.exception())  # `take` tries again
        if self._spare_expires is not None:
            self._spare_expires.cancel()
        self._spare_expires = asyncio.get_running_loop().call_later(self._keep_spare_s, self._end_spare)

    def _end_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            _end_started(spare)

    async def _start(self, file: BinaryIO | None = None) -> DecoderProcess:
        async with self._starting:
            try:
                process = DecoderProcess(file)
            except OSError as error:
                logger.warning("a container's decoder could not be started: %s", error.strerror)
                raise Unavailable("no decoder for the container could be started", retry_after_s=5.0) from None
            self._processes.add(process)
            process.gone.add_done_callback(lambda _: self._processes.discard(process))
            try:
                await process.connect()
            except BaseException:  # whoever waited for it may have gone
                process.end()
                raise
        return process


def _end_started(starting: asyncio.Task[DecoderProcess]) -> None:
    """Nobody wants this process any more, whether it is ready or starts."""
    if not starting.cancel() and not starting.cancelled() and starting.exception() is None:
        starting.result().end()


class ContainerDecoder:
    """Decodes one container stream: `push` the bytes, take the `samples`.

    Args:
        file: the container is read from there; nothing is pushed.
    """

    def __init__(self, pool: DecoderPool, file: BinaryIO | None = None) -> None:
        self._pool = pool
        self._file = file
        self._finished = False
        self._early: list[bytes] = []  # pushed before there was a process
        self._process: asyncio.Future[DecoderProcess | None] = asyncio.get_running_loop().create_future()
        """None: there is none, or none any more."""
        self.duration_s: float | None = None
        """The length that the container's head tells, once that is read."""

    async def push(self, data: bytes) -> None:
        """Hand over bytes; waits while the decoder is behind, and drops them when it has ended."""
        if not self._process.done():
            self._early.append(data)  # `samples` hands it over, also where `finish` comes before it can
            await asyncio.shield(self._process)
        elif (process := self._process.result()) is not None:
            await process.push(data)

    def finish(self) -> None:
        """Nothing more will be pushed; `samples` ends when all was decoded."""
        self._finished = True
        if self._process.done() and (process := self._process.result()) is not None:
            process.finish()

    async def samples(self) -> AsyncGenerator[Samples, None]:
        """Give float32 [n], mono, 16 kHz, -1..1, in short pieces; a decoder waits for as long as they are not taken.

        Close it (`aclosing`): the process ends with it.

        Raises:
            InvalidAudio: see `decode_container`; also where the process crashed, hung or reached a limit.
            Unavailable: no process could be started.
        """
        process = None
        try:
            process = await self._pool.take(self._file)
            while self._early:
                await process.push(self._early.pop(0))
        finally:
            self._process.set_result(process)
        try:
            if self._finished:
                process.finish()
            async for message in process.messages():
                if isinstance(message, Opened):
                    self.duration_s = message.duration_s
                elif isinstance(message, Decoded):
                    yield message.samples
                elif isinstance(message, Ended) and message.error is not None:
                    raise message.error
        finally:
            process.end()
