"""Measure how late the last of many readers receives a caption, and how much memory a reader costs. Linux only.

    python -m livecaption.evaluation.audience RECORDING [--readers N] [--websocket] [--store postgresql://...]

The server is a separate process with the scripted engine, on loopback. With `--store`, the same is measured again with
two servers that share this database, each with half of the readers. The delay of an event begins when the first socket
receives it, the publisher's or a reader's. It ends when the last reader receives it.
"""

import argparse
import asyncio
import base64
import os
import re
import resource
import select
import socket
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from rich.console import Console
from rich.table import Table

from livecaption.client import Stream, connect, real_time
from livecaption.errors import LivecaptionError
from livecaption.evaluation.clips import read_pcm
from livecaption.evaluation.command import count, reporting
from livecaption.evaluation.server_process import ServerProcess, serving
from livecaption.evaluation.soak import BYTES_PER_S
from livecaption.events import Final, Partial

CONNECT_AT_A_TIME = 50
"""Connections that are opened at a time. More would overflow the kernel's backlog of the server."""
MAX_BYTES = 64 * 1024
"""Bytes that are read at a time."""
SEQ = re.compile(rb'"type":"(partial|final)","seq":(\d+),')


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of the measurement.

    Attributes:
        delays_s: delay of each event from the first socket that received it to the last reader.
        n_missed: sum over all readers of the events that they did not receive; partials may be skipped.
        reader_bytes: growth of the servers' memory per reader, after they have read for a while.
    """

    delays_s: list[float]
    n_missed: int
    reader_bytes: float


class _Arrivals:
    """The first and the last arrival of each event, and the number of readers that received it."""

    def __init__(self) -> None:
        self.first_s: dict[int, float] = {}
        self.last_s: dict[int, float] = {}
        self.n_readers: dict[int, int] = defaultdict(int)

    def record_sent(self, seq: int) -> None:
        """Record that any client has received an event, for instance the publisher."""
        self.first_s.setdefault(seq, time.monotonic())

    def read(self, seq: int) -> None:
        """Record that a reader has received an event."""
        self.record_sent(seq)
        self.last_s[seq] = time.monotonic()
        self.n_readers[seq] += 1


class _Readers:
    """The connections of all readers, and the numbers of events that arrive there.

    A thread of their own reads them without an event loop, so that the measurement does not measure itself.
    """

    def __init__(self, arrivals: _Arrivals) -> None:
        self._arrivals = arrivals
        self._sockets: dict[int, socket.socket] = {}
        self._rest: dict[int, bytes] = {}
        self._is_over = False

    async def connect(self, address: tuple[str, int], request: bytes) -> None:
        """Connect one more reader, before `run`, and wait for the beginning of the response."""
        loop = asyncio.get_running_loop()
        connection = socket.create_connection(address)
        connection.setblocking(False)
        await loop.sock_sendall(connection, request)
        number = connection.fileno()
        self._sockets[number] = connection
        self._rest[number] = b""
        self._take(number, await loop.sock_recv(connection, MAX_BYTES))

    def run(self) -> None:
        """Read until `close`."""
        with select.epoll() as poll:
            for number in self._sockets:
                poll.register(number, select.EPOLLIN)
            while not self._is_over:
                for number, _ in poll.poll(0.1):
                    data = self._sockets[number].recv(MAX_BYTES)
                    self._take(number, data)
                    if not data:  # the server has closed it
                        poll.unregister(number)
        for connection in self._sockets.values():
            connection.close()

    def close(self) -> None:
        self._is_over = True

    def _take(self, number: int, data: bytes) -> None:
        data = self._rest[number] + data
        end = 0
        for match in SEQ.finditer(data):
            self._arrivals.read(int(match[2]))
            end = match.end()
        self._rest[number] = data[max(end, len(data) - 40) :]


async def measure(servers: Sequence[ServerProcess], pcm: bytes, n_readers: int, *, websocket: bool = False) -> Figures:
    """Stream the recording from a publisher at the first server to `n_readers` readers of all servers.

    Raises:
        LivecaptionError: no reader received an event.
    """
    urls = [await server.ready() for server in servers]
    arrivals = _Arrivals()

    async def say() -> AsyncIterator[bytes]:
        yield pcm

    async def speak(stream: Stream) -> None:
        async for chunk in real_time(say(), BYTES_PER_S):
            await stream.send_audio(chunk)
        await stream.stop()

    async with connect(urls[0]) as stream:
        before_bytes = _memory_bytes(servers)
        readers = _Readers(arrivals)
        for n, url in enumerate(urls):
            n_here = n_readers * (n + 1) // len(urls) - n_readers * n // len(urls)
            await _connect(url, stream.ready.session, n_here, readers, websocket=websocket)
        reading = asyncio.ensure_future(asyncio.to_thread(readers.run))
        speaking = asyncio.ensure_future(speak(stream))
        async for event in stream:
            if isinstance(event, Partial | Final):
                arrivals.record_sent(stream.last_seq)
        await speaking
    after_bytes = _memory_bytes(servers)
    await asyncio.sleep(0.5)
    readers.close()
    await reading
    delays_s = [last_s - arrivals.first_s[seq] for seq, last_s in arrivals.last_s.items()]
    if not delays_s:
        raise LivecaptionError("no reader received an event")
    n_missed = sum(n_readers - arrivals.n_readers[seq] for seq in arrivals.first_s)
    return Figures(delays_s, n_missed, (after_bytes - before_bytes) / n_readers)


def _memory_bytes(servers: Sequence[ServerProcess]) -> int:
    return sum(psutil.Process(server.pid).memory_info().rss for server in servers)


async def _connect(url: str, session: str, n_readers: int, readers: _Readers, *, websocket: bool) -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    request = f"GET /v1/sessions/{session}/{'watch' if websocket else 'events'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    if websocket:
        key = base64.b64encode(os.urandom(16)).decode()
        request += (
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        )
    for n_done in range(0, n_readers, CONNECT_AT_A_TIME):
        n_now = min(CONNECT_AT_A_TIME, n_readers - n_done)
        address, data = (parts.hostname, parts.port), f"{request}\r\n".encode()
        await asyncio.gather(*(readers.connect(address, data) for _ in range(n_now)))


def table(figures: Figures, n_readers: int, n_servers: int = 1) -> Table:
    """Make a table of the figures."""
    delays_ms = sorted(1000 * delay_s for delay_s in figures.delays_s)
    among = f", {n_servers} servers" if n_servers > 1 else ""
    shown = Table(title=f"{n_readers} readers, {len(delays_ms)} events{among}")
    for heading in ("median", "p95", "worst", "not read", "memory"):
        shown.add_column(heading, justify="right")
    shown.add_row(
        *(f"{delays_ms[min(len(delays_ms) - 1, int(rank * len(delays_ms)))]:.0f} ms" for rank in (0.5, 0.95, 1.0)),
        str(figures.n_missed),
        f"{figures.reader_bytes / 1024:.0f} KiB each",
    )
    return shown


async def _main(arguments: argparse.Namespace) -> None:
    pcm = read_pcm(arguments.recording)
    # The server inherits this limit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * arguments.readers + 1000), hard))
    for n_servers in (1, 2) if arguments.store else (1,):
        async with AsyncExitStack() as stack:
            store = ("--store", arguments.store) if arguments.store else ()
            servers = [await stack.enter_async_context(serving(*store)) for _ in range(n_servers)]
            figures = await measure(servers, 2 * pcm, arguments.readers, websocket=arguments.websocket)
        Console().print(table(figures, arguments.readers, n_servers))


@reporting
def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.audience", description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--readers", type=count, default=1000, metavar="N")
    parser.add_argument("--websocket", action="store_true", help="use WebSockets instead of server-sent events")
    parser.add_argument("--store", metavar="ADDRESS", help="also measure two servers with this database")
    asyncio.run(_main(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
