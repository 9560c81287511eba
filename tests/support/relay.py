"""A network between client and server whose connections break on command."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Relay:
    """Forwards bytes in both directions.

    Args:
        breaks: for each connection, in order, the numbers of bytes towards the server and towards the client
            after which it breaks. Later connections do not break.
    """

    def __init__(self, breaks: Sequence[tuple[float, float]] = ()) -> None:
        self.url = ""
        self.breaks = list(breaks)
        self._open: set[asyncio.StreamWriter] = set()
        self.n_connections = 0
        self.n_broken = 0
        self.up = True
        """While it is False, new connections are closed at once."""
        self.lost = b""
        """The next connection that is to pass these bytes on breaks before their end; empty: none does."""
        self._flows = asyncio.Event()
        self._flows.set()

    def hold(self) -> None:
        """Pass nothing on, as a network that has died without a word. Nothing is lost, and nothing is closed."""
        self._flows.clear()

    def release(self) -> None:
        """Pass on all that was held."""
        self._flows.set()

    def break_all(self) -> None:
        """Break all connections without a close. Bytes in transit are lost."""
        self.n_broken += bool(self._open)
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def cut(self) -> None:
        """Break all connections, and take no others."""
        self.up = False
        self.break_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        if not self.up:
            writer.transport.abort()
            return
        towards_server, towards_client = self.breaks.pop(0) if self.breaks else (float("inf"), float("inf"))
        self.n_connections += 1
        server_reader, server_writer = await asyncio.open_connection(host, port)
        pair = {writer, server_writer}
        self._open |= pair
        passing = [
            asyncio.ensure_future(self._pass_on(reader, server_writer, towards_server)),
            asyncio.ensure_future(self._pass_on(server_reader, writer, towards_client)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in passing:
                task.cancel()
            for end in pair:
                end.transport.abort()
            self._open -= pair

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, n_bytes: float) -> None:
        passed = b""
        try:
            while data := await reader.read(4096):
                await self._flows.wait()
                passed = (passed + data)[-len(data) - len(self.lost) :]  # they may come in two pieces
                if self.lost and self.lost in passed:
                    self.lost = b""
                    self.n_broken += 1
                    return
                writer.write(data[: int(min(n_bytes, len(data)))])
                await writer.drain()
                n_bytes -= len(data)
                if n_bytes <= 0:
                    self.n_broken += 1
                    return
            await self._flows.wait()
            # This is an orderly end: forward it before both connections are closed.
            writer.write_eof()
            await asyncio.sleep(1)
        except ConnectionError:
            pass


@asynccontextmanager
async def accepting(served: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[int]:
    """Accept connections on a port, which is yielded. At the end, others may still be on their way."""
    server = await asyncio.start_server(served, "127.0.0.1", 0)
    [listening] = server.sockets
    try:
        yield listening.getsockname()[1]
    finally:
        # A server that closes between the acceptance and the beginning of a connection leaves the socket open.
        asyncio.get_running_loop().remove_reader(listening.fileno())
        await asyncio.sleep(0)
        server.close()


@asynccontextmanager
async def relay_to(url: str, breaks: Sequence[tuple[float, float]] = ()) -> AsyncIterator[Relay]:
    """Run a relay to the server at `url`."""
    parts = urlsplit(url)
    relay = Relay(breaks)

    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(relay.serve(reader, writer, parts.hostname or "", parts.port or 80))
        serving.add(task)
        task.add_done_callback(serving.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # it may be cancelled before it begins

    try:
        async with accepting(serve) as port:
            relay.url = f"http://127.0.0.1:{port}/"
            yield relay
    finally:
        relay.break_all()
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)


@asynccontextmanager
async def relay_to_database(address: str) -> AsyncIterator[tuple[Relay, str]]:
    """Run a relay to the database at this address. Yield it, and the address by way of it."""
    async with relay_to(address) as relay:
        yield relay, re.sub(r":\d+/", f":{urlsplit(relay.url).port}/", address)
