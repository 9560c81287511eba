"""The decoder process: a container from the server, its samples back, for one stream; then it ends.

It ends only by `os._exit`, like the inference process; its lifeline is the same.
"""

import io
import os
from multiprocessing.connection import Connection
from socket import socket
from typing import NoReturn

from livecaption.audio.container import decode_container
from livecaption.decoding import messages, sandbox
from livecaption.errors import InvalidAudio, LivecaptionError

EXIT_DONE = 0
EXIT_SERVER_GONE = 1
WARM_UP = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\0"
"""A WAV of one sample at 8 kHz. Decoding it loads what nothing could load once the sandbox holds."""


def run(server: socket, file: Connection | None) -> NoReturn:
    """Live the whole life of the process, once its lifeline holds.

    Args:
        server: messages go there; the container comes from there, unless there is a file.
        file: the descriptor of one, which can be read anywhere: an index may stand at its end.
    """
    for _ in decode_container(io.BytesIO(WARM_UP)):
        pass
    sandbox.enter()
    channel = _Channel(server.fileno())
    channel.send(messages.Ready())
    source = _Source(server.fileno() if file is None else file.fileno(), channel)
    channel.send(messages.Ended(_decode(source, channel)))
    os._exit(EXIT_DONE)


def _decode(source: "_Source", channel: "_Channel") -> LivecaptionError | None:
    """Send all samples; the error that ended them, or None."""
    try:
        for samples in decode_container(source, lambda duration_s: channel.send(messages.Opened(duration_s))):
            channel.send(messages.Decoded(samples))
    except InvalidAudio as error:
        return error
    except MemoryError:
        return InvalidAudio("decoding this container needs too much memory", code="invalid_container")
    except Exception as error:
        # Its stderr may be a file, which it cannot write any more.
        return InvalidAudio(f"this container cannot be decoded ({type(error).__name__})", code="invalid_container")
    return None


class _Channel:
    """Messages to the server."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: messages.Message) -> None:
        """Send it; waits for as long as the server does not read."""
        sandbox.renew_cpu_time()
        frame = memoryview(messages.encode(message))
        try:
            while frame:
                frame = frame[os.write(self._descriptor, frame) :]
        except OSError:
            os._exit(EXIT_SERVER_GONE)


class _Source(io.RawIOBase):
    """The container's bytes, as they come in. Before each read the server is told that it is awaited."""

    def __init__(self, descriptor: int, channel: _Channel) -> None:
        self._descriptor = descriptor
        self._channel = channel
        self._n_taken = 0
        try:
            os.lseek(descriptor, 0, os.SEEK_CUR)
            self._seekable = True
        except OSError:
            self._seekable = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def read(self, n_bytes: int = -1, /) -> bytes:
        self._channel.send(messages.Waits(self._n_taken))
        data = os.read(self._descriptor, n_bytes)
        self._n_taken += len(data)
        return data
