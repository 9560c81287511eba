"""The pool starts decoder processes on demand and keeps a spare one.

The first container stream starts its process. From then on a spare one is kept ready, so that the next stream does not
wait for Python and FFmpeg to load. The spare ends when no container stream has started for `KEEP_SPARE_S`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import BinaryIO

from livecaption.audio.formats import ChannelMode, Samples
from livecaption.decoding.decoder import DEFAULTS, PROGRAM, DecoderConfig, DecoderProcess
from livecaption.decoding.messages import Decoded, Ended, Opened, Waits
from livecaption.errors import Unavailable

MAX_STARTING = 2
"""Processes that start at a time. Without a limit, many new streams at once would take the cores from running ones."""
KEEP_SPARE_S = 300.0
CLOSE_TIMEOUT_S = 1.0

logger = logging.getLogger(__name__)


class DecoderPool:
    """All decoder processes of a server. Used by the thread of its event loop.

    Args:
        decoder: the time-outs of each process.
        keep_spare_s: how long the process that waits for the next container is kept; 0: there is none.
        program: see `DecoderProcess`.
    """

    def __init__(
        self, decoder: DecoderConfig = DEFAULTS, *, keep_spare_s: float = KEEP_SPARE_S, program: str = PROGRAM
    ) -> None:
        self._decoder = decoder
        self._program = program
        self._keep_spare_s = keep_spare_s
        self._processes: set[DecoderProcess] = set()
        self._spare: asyncio.Task[DecoderProcess] | None = None
        self._spare_expires: asyncio.TimerHandle | None = None
        self._starting = asyncio.Semaphore(MAX_STARTING)

    @property
    def pids(self) -> list[int]:
        """The process ids of all decoders, including the spare one."""
        return [process.pid for process in self._processes]

    async def take(
        self,
        file: BinaryIO | None = None,
        track: int | None = None,
        channel_mode: ChannelMode = "mix",
        *,
        from_stranger: bool = True,
    ) -> DecoderProcess:
        """Return a process that is ready for one container. The caller must `end` it.

        Args:
            file: a file to read the container from. None: the container is pushed.
            track: number of the file's audio track to decode, from 1. None: the default one.
            channel_mode: whether the channels are mixed or kept apart.
            from_stranger: whether a stranger has sent the container: fewer formats are read.

        Raises:
            Unavailable: no process could be started.
        """
        if file is not None or channel_mode == "separate":
            return await self._start(file, track, channel_mode, from_stranger=from_stranger)
        process = await self._take_spare() or await self._start()
        self._keep_spare()
        return process

    async def close(self) -> None:
        """End all processes, and wait until they are gone."""
        if self._spare_expires is not None:
            self._spare_expires.cancel()
        if self._spare is not None:
            _end_started(self._spare)
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
        if process.gone.done():
            process.end()  # its socket is still open
            return None
        return process

    def _keep_spare(self) -> None:
        if not self._keep_spare_s:
            return
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

    async def _start(
        self,
        file: BinaryIO | None = None,
        track: int | None = None,
        channel_mode: ChannelMode = "mix",
        *,
        from_stranger: bool = True,
    ) -> DecoderProcess:
        async with self._starting:
            try:
                process = DecoderProcess(
                    file, track, channel_mode, self._decoder, from_stranger=from_stranger, program=self._program
                )
            except OSError as error:
                logger.warning("a container's decoder could not be started: %s", error.strerror)
                raise Unavailable("no decoder for the container could be started", retry_after_s=5.0) from None
            self._processes.add(process)
            process.gone.add_done_callback(lambda _: self._processes.discard(process))
            try:
                await process.connect()
            except BaseException:  # also if the caller was cancelled
                process.end()
                raise
        return process


def _end_started(starting: asyncio.Task[DecoderProcess]) -> None:
    """End a process that is not needed any more, whether it is ready or still starts."""
    if not starting.cancel() and not starting.cancelled() and starting.exception() is None:
        starting.result().end()


class ContainerDecoder:
    """Decodes one container stream: `push` the bytes, take the `samples`.

    Args:
        file: a file to read the container from; then nothing is pushed.
        track: number of the file's audio track to decode, from 1. None: the default one.
        channel_mode: whether the channels are mixed or kept apart.
        from_stranger: whether a stranger has sent the container: fewer formats are read.
        on_wait: called with the number of bytes so far, when their samples were taken and the decoder needs more bytes.

    Attributes:
        opened: what the container holds, once its header was read.
    """

    def __init__(
        self,
        pool: DecoderPool,
        file: BinaryIO | None = None,
        track: int | None = None,
        channel_mode: ChannelMode = "mix",
        *,
        from_stranger: bool = True,
        on_wait: Callable[[int], None] = lambda n_bytes: None,
    ) -> None:
        self.opened: Opened | None = None
        self._channel_mode: ChannelMode = channel_mode
        self._pool = pool
        self._file = file
        self._track = track
        self._from_stranger = from_stranger
        self._on_wait = on_wait
        self._finished = False
        self._early: list[bytes] = []  # pushed before there was a process
        self._process: asyncio.Future[DecoderProcess | None] = asyncio.get_running_loop().create_future()
        """The result is None if no process could be started."""

    async def push(self, data: bytes) -> None:
        """Send bytes to the decoder. Wait while it is behind, and drop them if it has ended."""
        if not self._process.done():
            self._early.append(data)  # `samples` sends it, even if `finish` is called before
            await asyncio.shield(self._process)
        elif (process := self._process.result()) is not None:
            await process.push(data)

    def finish(self) -> None:
        """Mark the end of the container. `samples` ends when all was decoded."""
        self._finished = True
        if self._process.done() and (process := self._process.result()) is not None:
            process.finish()

    async def samples(self) -> AsyncGenerator[Samples, None]:
        """Yield float32, 16 kHz, -1..1, in short pieces: mono, or [n_samples, n_channels] if channels are kept apart.

        The decoder waits while they are not taken.

        Close the generator (`aclosing`), because that ends the process.

        Raises:
            InvalidAudio: see `decode_container`; also if the process crashed, hung or reached a limit.
            Unavailable: no process could be started.
        """
        process = None
        try:
            process = await self._pool.take(
                self._file, self._track, self._channel_mode, from_stranger=self._from_stranger
            )
            while self._early:
                await process.push(self._early.pop(0))
        finally:
            self._process.set_result(process)
        try:
            if self._finished:
                process.finish()
            async for message in process.messages():
                if isinstance(message, Opened):
                    self.opened = message
                elif isinstance(message, Decoded):
                    yield self._shaped(message.samples)
                elif isinstance(message, Waits):
                    self._on_wait(message.n_bytes)
                elif isinstance(message, Ended) and message.error is not None:
                    raise message.error
        finally:
            process.end()

    def _shaped(self, samples: Samples) -> Samples:
        if self._channel_mode == "mix":
            return samples
        n_channels = self.opened.n_channels if self.opened is not None else 1
        # A decoder that was taken over may send any number of samples.
        return samples[: len(samples) - len(samples) % n_channels].reshape(-1, n_channels)
