"""Open the audio that a user names: a file, a pipe such as `-` or a FIFO, an address of http, https, rtmp or rtmps.

A file can be read at any place. The bytes of a pipe or of http arrive one after another. They are decoded while they
arrive, or are stored first in a file without a name, if decoding needs to seek. A broadcast by RTMP is received by a
process of its own.
"""

import asyncio
import os
import re
import stat
import struct
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from livecaption.errors import InvalidAudio, LivecaptionError

if TYPE_CHECKING:
    import aiohttp

STDIN = ("-", "/dev/stdin")
BROADCASTS = ("rtmp", "rtmps")
READ_BYTES = 64 * 1024
WAITING_BYTES = 8 * 1024 * 1024
"""Bytes of a pipe that are read ahead, so that nobody who writes live audio has to wait until the model is loaded:
40 s of 48 kHz stereo with 16 bits. asyncio reads up to twice as many."""
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Time without a byte after which an address counts as dead."""

HEAD_BYTES = 64 * 1024
"""Bytes in which the index of an MP4 is looked for."""
BOXES_BEFORE_MEDIA = (b"ftyp", b"free", b"skip", b"wide", b"uuid", b"pdin")


@dataclass(frozen=True, slots=True)
class Source:
    """A source of audio.

    Attributes:
        place: a path, one of `STDIN`, or an address.
        name: the name that people read. An address has neither its password nor its query, which may be a key.
        stem: name of the files that are made from it, without their ending.
    """

    place: str
    name: str
    stem: str

    @property
    def is_stdin(self) -> bool:
        return self.place in STDIN

    @property
    def is_address(self) -> bool:
        return _scheme(self.place) in ("http", "https")

    @property
    def is_broadcast(self) -> bool:
        return _scheme(self.place) in BROADCASTS


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A live broadcast, which another process receives."""

    address: str


def source(place: str) -> Source:
    """Return the source that a word of the command line names.

    Raises:
        ValueError: it is an address of a kind that is not known.
    """
    if place in STDIN:
        return Source(place, "standard input", "stdin")
    if not _scheme(place):
        path = Path(place)
        return Source(place, str(path), path.stem)
    parts = urlsplit(place)
    server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.scheme in BROADCASTS and parts.hostname:
        return Source(place, server, parts.hostname)  # the path has the key of the stream
    if parts.scheme == "srt":
        raise ValueError("SRT needs another program: ffmpeg -i 'srt://...' -vn -f matroska - | livecaption listen -")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{server} is neither a file nor an address of http, https, rtmp or rtmps")
    # A decoded name may contain characters that no file name may have.
    stem = re.sub(r"[/\0]", "_", unquote(parts.path.rstrip("/").rpartition("/")[2]))
    return Source(place, f"{server}{parts.path}", Path(stem).stem or parts.hostname)


def _scheme(place: str) -> str:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", place)
    return match[1].lower() if match else ""


class Arriving:
    """The bytes of a pipe or an address, which arrive one after another.

    Attributes:
        began_s: the loop's time at which the first of them may have been written.
    """

    def __init__(self, reader: "asyncio.StreamReader | aiohttp.StreamReader", began_s: float) -> None:
        self.began_s = began_s
        self._reader = reader
        self._head = b""

    async def read(self) -> bytes:
        """Return the next bytes; b"" at the end.

        Raises:
            OSError: they cannot be read to their end.
        """
        head, self._head = self._head, b""
        return head or await self._read()

    async def has_index_at_its_end(self) -> bool:
        """Return True if the bytes are an MP4 that cannot be decoded while it arrives. `read` returns all of it."""
        while (last := index_comes_last(self._head)) is None:
            data = await self._read()
            self._head += data
            if not data:
                return False
        return last

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(READ_BYTES)
        except (OSError, asyncio.CancelledError):
            raise
        except Exception as error:  # of aiohttp, which is only imported where it is used
            raise OSError(f"the transfer broke off ({error or type(error).__name__})") from None


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[BinaryIO | Arriving | Broadcast]:
    """Open a source: a file that can seek, or bytes that arrive. A pipe is read from now on, a broadcast not yet.

    Raises:
        LivecaptionError: it is a terminal, or the address does not answer.
        OSError: it cannot be opened.
    """
    if source.is_address:
        async with _address(source.place) as arriving:
            yield arriving
        return
    if source.is_broadcast:
        yield Broadcast(source.place)
        return
    if source.is_stdin:
        if sys.stdin is None:
            raise LivecaptionError("it is closed")
        descriptor = os.dup(0)
    else:
        # Without O_NONBLOCK, a FIFO would block all until somebody writes into it.
        descriptor = os.open(source.place, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if file.isatty():
            raise LivecaptionError("it is a terminal; redirect a file or a pipe to it")
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            async with _pipe(file) as arriving:
                yield arriving
        else:
            yield file


@asynccontextmanager
async def _pipe(file: BinaryIO) -> AsyncIterator[Arriving]:
    loop = asyncio.get_running_loop()
    blocking = os.get_blocking(file.fileno())
    # The transport closes its file. Other processes share the state of standard input, so it is restored.
    duplicate = os.fdopen(os.dup(file.fileno()), "rb")
    reader = asyncio.StreamReader(limit=WAITING_BYTES)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), duplicate)
    try:
        # A shell starts both ends at once. Live audio that has waited since then is late, and must not be delayed.
        yield Arriving(reader, loop.time() - _process_age_s())
    finally:
        transport.close()
        os.set_blocking(file.fileno(), blocking)


def _process_age_s() -> float:
    """Return how long this process has run; 0 where the system does not report it."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # starttime, proc_pid_stat(5)
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (OSError, AttributeError):
        return 0.0


@asynccontextmanager
async def _address(address: str) -> AsyncIterator[Arriving]:
    import aiohttp

    from livecaption.client.opening import reason

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as http:
        try:
            response = await http.get(address)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LivecaptionError(f"cannot be reached ({reason(error)})") from None
        async with response:
            if response.status >= 400:
                raise LivecaptionError(f"the server answered {response.status} {response.reason or ''}".rstrip())
            yield Arriving(response.content, asyncio.get_running_loop().time())


async def store(arriving: Arriving) -> BinaryIO:
    """Store all bytes in a file without a name, and return it at its beginning.

    Raises:
        OSError: they cannot be read or stored.
    """
    file = tempfile.TemporaryFile(prefix="livecaption-")  # noqa: SIM115 - the caller closes it
    try:
        while data := await arriving.read():
            file.write(data)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


async def raw_chunks(audio: BinaryIO | Arriving) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of audio without a header.

    Raises:
        InvalidAudio: there are none.
        OSError: they cannot be read.
    """
    n_bytes = 0
    while data := await audio.read() if isinstance(audio, Arriving) else audio.read(READ_BYTES):
        n_bytes += len(data)
        yield data
    if not n_bytes:
        raise InvalidAudio("there is no audio in it")


def check(source: Source) -> None:
    """Check that a file can be opened. A FIFO is not opened, because its writer would lose the first bytes.

    Raises:
        OSError: it cannot be opened.
    """
    is_file = not (source.is_address or source.is_broadcast or source.is_stdin)
    if is_file and not stat.S_ISFIFO(os.stat(source.place).st_mode):
        with open(source.place, "rb"):
            pass


def index_comes_last(head: bytes) -> bool | None:
    """Return True if the audio of an MP4 precedes the index that is needed to decode it.

    Args:
        head: the first bytes of any file.

    Returns:
        False for other formats, and None if more bytes are needed. Source: ISO/IEC 14496-12, section 4.2.
    """
    at = 0
    while len(head) >= at + 16:
        n_bytes, kind = struct.unpack_from(">I4s", head, at)
        if kind == b"mdat":
            return True
        if kind not in BOXES_BEFORE_MEDIA:
            return False
        if n_bytes == 1:
            [n_bytes] = struct.unpack_from(">Q", head, at + 8)
        if n_bytes < 8:
            return False
        at += n_bytes
    return None if at + 16 <= HEAD_BYTES else False
