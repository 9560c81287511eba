"""Clients and servers of Wyoming: events as the library `wyoming` writes them, over a real TCP connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.live.config import LiveConfig
from livecaption.live.dialects.wyoming_events import WyomingEvent, parse
from livecaption.server import lifecycle
from livecaption.server.listening import Listener
from livecaption.server.services import SERVICES
from tests.support.eventually import TIMEOUT_FACTOR
from tests.support.proxies import free_ports

AUDIO = {"rate": 16_000, "width": 2, "channels": 1}
HEAD_OF_2_GB = b'{"type": "audio-chunk", "payload_length": 2000000000}\n'
WAIT_S = 20.0 * TIMEOUT_FACTOR


def event(kind: str, data: dict[str, Any] | None = None, payload: bytes = b"") -> bytes:
    """Return an event whose data stands behind its line."""
    header: dict[str, Any] = {"type": kind, "version": "1.10.2"}
    rest = json.dumps(data).encode() if data else b""
    if rest:
        header["data_length"] = len(rest)
    if payload:
        header["payload_length"] = len(payload)
    return json.dumps(header).encode() + b"\n" + rest + payload


def command(pcm: bytes) -> list[bytes]:
    """Return the events of a command with this audio, without its end."""
    chunks = [event("audio-chunk", AUDIO, pcm[start : start + 2048]) for start in range(0, len(pcm), 2048)]
    return [event("transcribe", {"language": "en"}), event("audio-start", AUDIO), *chunks]


def stop_reading(writer: asyncio.StreamWriter) -> None:
    """Read nothing more from this connection."""
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()


@dataclass(frozen=True, slots=True)
class WyomingPeer:
    """One connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *events: bytes) -> None:
        self.writer.write(b"".join(events))
        await self.writer.drain()

    async def read(self) -> WyomingEvent | None:
        """Return the next event, or None if the server has closed."""
        async with asyncio.timeout(WAIT_S):
            line = await self.reader.readline()
        return parse(line) if line else None

    async def read_all(self) -> list[tuple[str, dict[str, Any]]]:
        """Return types and data of all events up to the close."""
        events = []
        while (received := await self.read()) is not None:
            events.append((received.type, received.data))
        return events


@dataclass(frozen=True, slots=True)
class Ports:
    """A server with a port for each protocol that may have one."""

    app: web.Application
    http: int
    wyoming: int
    vosk: int
    whisperlive: int

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[WyomingPeer]:
        """Connect a client of Wyoming, and drop its connection at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.wyoming)
        try:
            yield WyomingPeer(reader, writer)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(
    script: str = "",
    *,
    wait: bool = True,
    live: LiveConfig | None = None,
    engine: EngineConfig | None = None,
    **server_settings: Any,
) -> AsyncIterator[Ports]:
    """Run a server, by default with the scripted engine, on all its ports."""
    wyoming, vosk, whisperlive = free_ports(3)
    config = Config(engine=engine or EngineConfig(engine="scripted", model=script), live=live or LiveConfig())
    settings = {"port": 0, "wyoming_port": wyoming, "vosk_port": vosk, "whisperlive_port": whisperlive}
    config = replace(config, server=replace(config.server, **settings | server_settings))
    runner = lifecycle._runner(config)
    listener = Listener.bind(config.server)
    try:
        await listener.listen(runner, None)
        if wait:
            await runner.app[SERVICES].pool.wait_until_loaded()
        yield Ports(runner.app, listener.sockets[0].getsockname()[1], wyoming, vosk, whisperlive)
    finally:
        listener.close()
        await runner.cleanup()
