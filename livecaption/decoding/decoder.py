"""The server's side of one decoder process: bytes of a container out, samples in.

Both ways are bounded. What the server does not read stays in the socket, so the decoder waits; what the decoder does
not read stays there too, so `push` waits, and with it the client's connection.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import BinaryIO, NoReturn

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
"""The module whose `run` is the process."""
START_TIMEOUT_S = 30.0
"""A process that is not ready by then is given up. It takes 0.4 s of a core, which a busy machine may not have."""
SILENCE_S = 5.0
MAX_SILENCES = 2
"""A decoder that has bytes and gives no sign of life for so many times so long is stuck, or was stopped. Counted twice,
because the first may be of a server that was stopped itself."""
REAP_TIMEOUT_S = 1.0
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""So much of a container may wait, beside what the socket holds: 17 min of Opus. Then the client is not read, which
must not last: it could not answer a ping either."""

logger = logging.getLogger(__name__)


class DecoderProcess:
    """One process. It serves one container, and is not used again.

    Args:
        file: read the container from there instead of what is pushed.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._ours, theirs = socket.socketpair()
        source = None
        try:
            if file is not None:
                # A descriptor crosses to another process as a `Connection`; nothing is sent over it.
                source = Connection(os.dup(file.fileno()), writable=False)
            self._process: SpawnProcess = children.start("livecaption-decoder", PROGRAM, theirs, source)
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()
            if source is not None:
                source.close()
        assert self._process.pid is not None  # it was started
        self.pid = self._process.pid
        self._header = b""  # of a frame whose body is on its way
        self._ended_by_us = False
        self._n_pushed = self._n_taken = 0
        self._finished = file is not None
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done once the process has ended and nothing is left of it."""
        self._loop.add_reader(self._process.sentinel, self._reap)

    async def connect(self) -> None:
        """Wait until the process is ready.

        Raises:
            Unavailable: it has ended, or takes too long.
        """
        self._reader, self._writer = await asyncio.open_connection(sock=self._ours, limit=MAX_BODY_BYTES)
        self._writer.transport.set_write_buffer_limits(MAX_WAITING_BYTES, MAX_WAITING_BYTES)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                if isinstance(await self._receive(), Ready):
                    return
        except (TimeoutError, EOFError, GarbledFrame):
            pass
        self.end()
        raise Unavailable("no decoder for the container could be started", retry_after_s=5.0)

    async def push(self, data: bytes) -> None:
        """Hand over bytes; waits while the decoder is behind. What comes after `finish` or its end is dropped."""
        assert self._writer is not None  # as it is connected
        if self._finished or self._writer.is_closing():
            return
        self._n_pushed += len(data)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            pass  # `messages` tells why

    def finish(self) -> None:
        """Nothing more will be pushed."""
        assert self._writer is not None  # as it is connected
        if not self._finished and not self._writer.is_closing():
            self._finished = True
            self._writer.write_eof()

    async def messages(self) -> AsyncIterator[Message]:
        """What it sends, up to `Ended`.

        Raises:
            InvalidAudio: `invalid_container`: it crashed, hung, reached a limit, or sent what makes no sense.
        """
        n_silences = 0
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    message = await self._receive()
            except TimeoutError:
                n_silences += self._owes
                if n_silences == MAX_SILENCES:
                    self._fail("gave no sign of life")
                continue
            except EOFError:
                self._fail(None)
            except GarbledFrame:
                self._fail("sent what makes no sense")
            n_silences = 0
            if isinstance(message, Waits):
                self._n_taken = message.n_bytes
            if not isinstance(message, Decoded):
                await asyncio.sleep(0)  # a decoder that was taken over could send these without end
            yield message
            if isinstance(message, Ended):
                return

    def end(self) -> None:
        """The process is not needed any more. Idempotent; `gone` tells when it has ended."""
        self._ended_by_us = True
        children.kill(self._process)
        if self._writer is not None:
            self._writer.close()
        else:
            self._ours.close()

    @property
    def _owes(self) -> bool:
        """Whether it has what it could decode, and should say something."""
        return self._finished or self._n_taken < self._n_pushed

    async def _receive(self) -> Message:
        """Raises EOFError, GarbledFrame. May be cancelled and called again: what was read by then is not lost."""
        try:
            if not self._header:
                self._header = await self._reader.readexactly(HEADER.size)
            body = await self._reader.readexactly(body_bytes(self._header))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise EOFError from None
        header, self._header = self._header, b""
        return decode(header, body)

    def _fail(self, what: str | None) -> NoReturn:
        if what is not None:
            logger.warning("a container's decoder %s, and is ended", what)
            self.end()
        raise InvalidAudio("this container could not be decoded to its end", code="invalid_container")

    def _reap(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        # One that was taken over may have closed what tells its end, and live: nobody waits for that.
        children.kill(self._process)
        exit_code = children.reap(self._process, REAP_TIMEOUT_S)
        if exit_code and not self._ended_by_us:
            logger.warning("a container's decoder %s", children.describe_exit(exit_code))
        self.gone.set_result(None)
