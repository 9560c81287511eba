"""The server's side of one decoder process sends the container's bytes and receives samples.

Both directions are bounded by the socket. If the server does not read samples, the decoder waits. If the decoder does
not read bytes, `push` waits, and with it the client's connection.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import BinaryIO, NoReturn

from livecaption.audio.formats import ChannelMode
from livecaption.decoding.messages import (
    HEADER,
    MAX_BODY_BYTES,
    Decoded,
    Ended,
    GarbledFrame,
    Message,
    Ready,
    Waits,
    body_bytes,
    decode,
)
from livecaption.errors import InvalidAudio, Unavailable
from livecaption.ipc import children

PROGRAM = "livecaption.decoding.process"
REAP_TIMEOUT_S = 1.0
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Bytes of a container that may wait, in addition to the socket's buffer: 17 min of Opus. Beyond it the server stops
reading from the client. That must not last, because the server would then miss the client's answer to a ping."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The time-outs of a decoder process.

    Attributes:
        start_timeout_s: time to get ready. It needs 0.4 s of one core, which may take much longer on a busy machine.
        silence_s: see `max_silences`.
        max_silences: a decoder that has bytes and sends nothing for this number of periods of `silence_s` is stuck or
            was stopped. Two are needed, because during the first one the server itself may have been stopped.
    """

    start_timeout_s: float = 30.0
    silence_s: float = 5.0
    max_silences: int = 2


DEFAULTS = DecoderConfig()


class DecoderProcess:
    """One decoder process. It serves one container and is not used again.

    Args:
        file: a file to read the container from; then nothing is pushed.
        track: number of the audio track to decode, from 1. None: the default one.
        channel_mode: whether the channels are mixed or kept apart.
        config: the time-outs.
        from_stranger: whether a stranger has sent the container: fewer formats are read.
        program: the module whose `run` is called in the process.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self,
        file: BinaryIO | None = None,
        track: int | None = None,
        channel_mode: ChannelMode = "mix",
        config: DecoderConfig = DEFAULTS,
        *,
        from_stranger: bool = True,
        program: str = PROGRAM,
    ) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._ours, theirs = socket.socketpair()
        source = None
        try:
            if file is not None:
                # A descriptor is passed to another process as a `Connection`; nothing is sent over it.
                source = Connection(os.dup(file.fileno()), writable=False)
            self._process: SpawnProcess = children.start(
                "livecaption-decoder", program, theirs, source, track, channel_mode, from_stranger
            )
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()
            if source is not None:
                source.close()
        assert self._process.pid is not None  # it was started
        self.pid = self._process.pid
        self._header = b""  # the header of a frame whose body was not read yet
        self._ended_by_us = False
        self._n_pushed = self._n_taken = 0
        self._finished = file is not None
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done once the process has ended and was reaped."""
        self._loop.add_reader(self._process.sentinel, self._reap)

    async def connect(self) -> None:
        """Wait until the process is ready.

        Raises:
            Unavailable: the process has ended, or takes too long.
        """
        self._reader, self._writer = await asyncio.open_connection(sock=self._ours, limit=MAX_BODY_BYTES)
        self._writer.transport.set_write_buffer_limits(MAX_WAITING_BYTES, MAX_WAITING_BYTES)
        try:
            async with asyncio.timeout(self._config.start_timeout_s):
                if isinstance(await self._receive(), Ready):
                    return
        except (TimeoutError, EOFError, GarbledFrame):
            pass
        self.end()
        raise Unavailable("no decoder for the container could be started", retry_after_s=5.0)

    async def push(self, data: bytes) -> None:
        """Send bytes, and wait while the decoder is behind. Bytes after `finish` or after its end are dropped."""
        assert self._writer is not None  # `connect` comes first
        if self._finished or self._writer.is_closing():
            return
        self._n_pushed += len(data)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            pass  # `messages` raises the reason

    def finish(self) -> None:
        """Mark the end of the container."""
        assert self._writer is not None  # `connect` comes first
        if not self._finished and not self._writer.is_closing():
            self._finished = True
            self._writer.write_eof()

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the messages of the process, up to `Ended`.

        Raises:
            InvalidAudio: `invalid_container`: the process crashed, hung, reached a limit, or sent an invalid frame.
        """
        n_silences = 0
        while True:
            try:
                async with asyncio.timeout(self._config.silence_s):
                    message = await self._receive()
            except TimeoutError:
                n_silences += self._has_work
                if n_silences == self._config.max_silences:
                    self._fail("sent nothing for too long")
                continue
            except EOFError:
                self._fail(None)
            except GarbledFrame:
                self._fail("sent an invalid frame")
            n_silences = 0
            if isinstance(message, Waits):
                self._n_taken = message.n_bytes
            if not isinstance(message, Decoded):
                await asyncio.sleep(0)  # a decoder that was taken over could send these without end
            yield message
            if isinstance(message, Ended):
                return

    def end(self) -> None:
        """End the process. `gone` is done once it has ended. Idempotent."""
        self._ended_by_us = True
        children.kill(self._process)
        if self._writer is not None:
            self._writer.close()
        else:
            self._ours.close()

    @property
    def _has_work(self) -> bool:
        """True if the process has bytes to decode, and must therefore send something."""
        return self._finished or self._n_taken < self._n_pushed

    async def _receive(self) -> Message:
        """Receive one message. It may be cancelled and called again without losing bytes that were read.

        Raises:
            EOFError: the process has ended.
            GarbledFrame: the process has sent an invalid frame.
        """
        try:
            if not self._header:
                self._header = await self._reader.readexactly(HEADER.size)
            body = await self._reader.readexactly(body_bytes(self._header))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise EOFError from None
        header, self._header = self._header, b""
        return decode(header, body)

    def _fail(self, fault: str | None) -> NoReturn:
        if fault is not None:
            logger.warning("a container's decoder %s; it is killed", fault)
            self.end()
        raise InvalidAudio("this container could not be decoded to its end", code="invalid_container")

    def _reap(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        # A decoder that was taken over may have closed its sentinel and still run. Kill it, so that `reap` is quick.
        children.kill(self._process)
        exit_code = children.reap(self._process, REAP_TIMEOUT_S)
        if exit_code and not self._ended_by_us:
            logger.warning("a container's decoder %s", children.describe_exit(exit_code))
        self.gone.set_result(None)
