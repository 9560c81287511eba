"""The decoder process receives a container from the server, sends its samples back, and ends.

It serves one stream. Like the inference process, it ends only by `os._exit` and has the same lifeline.
"""

import io
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from socket import socket
from typing import NoReturn

from livecaption.audio.accepted import FILES, STREAMS
from livecaption.audio.container import Contents, decode_container
from livecaption.audio.formats import ChannelMode, Samples
from livecaption.decoding import messages, sandbox
from livecaption.errors import InvalidAudio, LivecaptionError

EXIT_DONE = 0
EXIT_SERVER_GONE = 1
WARM_UP = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\0"
"""A WAV of one sample at 8 kHz. Decoding it loads everything that cannot be loaded inside the sandbox."""


def run(
    server: socket, file: Connection | None, track: int | None, channel_mode: ChannelMode, from_stranger: bool
) -> NoReturn:
    """Run the process to its end. The lifeline is set up before.

    Args:
        server: the socket for messages to the server. The container arrives there too, unless `file` is given.
        file: the descriptor of a seekable file with the container, because an index may be at its end.
        track: number of the audio track to decode, from 1. None: the default one.
        channel_mode: whether the channels are mixed or kept apart.
        from_stranger: whether a stranger has sent the container. Otherwise the person who runs the command has chosen
            it, and more formats are read.
    """
    for _ in decode_container(io.BytesIO(WARM_UP)):
        pass
    sandbox.enter()
    channel = Channel(server.fileno())
    channel.send(messages.Ready())
    source = _Source(server.fileno() if file is None else file.fileno(), channel)
    accepted = STREAMS if from_stranger else FILES
    send_all(
        channel,
        lambda opened: decode_container(source, opened, accepted=accepted, track=track, channel_mode=channel_mode),
    )
    os._exit(EXIT_DONE)


def send_all(channel: "Channel", decode: Callable[[Callable[[Contents], None]], Iterator[Samples]]) -> None:
    """Send all samples that `decode` yields, and the error that stopped it."""

    def opened(contents: Contents) -> None:
        channel.send(messages.Opened(contents.duration_s, contents.track, contents.n_tracks, contents.n_channels))

    channel.send(messages.Ended(_error_of(channel, decode(opened))))


def _error_of(channel: "Channel", pieces: Iterator[Samples]) -> LivecaptionError | None:
    """Send all samples, and return the error that stopped decoding, or None."""
    try:
        for samples in pieces:
            channel.send(messages.Decoded(samples))
    except InvalidAudio as error:
        return error
    except MemoryError:
        return InvalidAudio("decoding this container needs too much memory", code="invalid_container")
    except Exception as error:
        # Report the error, because stderr may be a file, to which the sandbox forbids writing.
        return InvalidAudio(f"this container cannot be decoded ({type(error).__name__})", code="invalid_container")
    return None


class Channel:
    """Sends messages to the server."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: messages.Message) -> None:
        """Send a message. Block while the server does not read."""
        sandbox.extend_cpu_limit()
        frame = memoryview(messages.encode(message))
        try:
            while frame:
                frame = frame[os.write(self._descriptor, frame) :]
        except OSError:
            os._exit(EXIT_SERVER_GONE)


class _Source(io.RawIOBase):
    """Reads the container's bytes as they arrive. Before each read, the server is informed by `Waits`."""

    def __init__(self, descriptor: int, channel: Channel) -> None:
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
