"""A server with the scripted engine: real sockets, a real inference process, and known answers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from livecaption.config import DEFAULTS, Config
from livecaption.ipc.config import EngineConfig
from livecaption.live.config import LiveConfig
from livecaption.live.dialects.dialect import Route
from livecaption.scheduling.config import AdmissionConfig
from livecaption.server import build_app
from livecaption.server.lifecycle import LINGERING_S
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from livecaption.workers.pool import PoolState
from tests.support.eventually import eventually
from tests.support.speech import pcm_s16le, sound

Client = TestClient[web.Request, web.Application]
StartServer = Callable[..., Awaitable[Client]]
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms"))
NO_STORE = StoreConfig()
PAUSE = pcm_s16le(sound("silence 1000ms"))


@pytest.fixture
async def start_server(aiohttp_client: Callable[..., Awaitable[Client]]) -> StartServer:
    async def start(
        script: str = "",
        *,
        wait: bool = True,
        store: StoreConfig = NO_STORE,
        routes: Sequence[Route] | None = None,
        live: LiveConfig = DEFAULTS.live,
        admission: AdmissionConfig = DEFAULTS.admission,
        tracks: tuple[str, ...] = (),
        speakers: bool = False,
        **server_settings: Any,
    ) -> Client:
        engine = EngineConfig(engine="scripted", model=script, tracks=tracks, speakers=speakers)
        config = Config(engine=engine, store=store, live=live, admission=admission)
        config = replace(config, server=replace(config.server, **server_settings))
        client = await aiohttp_client(AppServer(build_app(config, routes)))
        if wait:
            assert await client.app[SERVICES].pool.wait_until_loaded() is PoolState.READY
        return client

    return start


class AppServer(TestServer):
    """A server that waits for the rest of a refused body as long as the real one; aiohttp's default are ten seconds."""

    async def _make_runner(self, **settings: Any) -> web.BaseRunner:
        return await super()._make_runner(lingering_time=LINGERING_S, **settings)


class LastingServer(AppServer):
    """A server that a client does not close."""

    async def close(self) -> None:
        """Do nothing, because the next test goes on with it."""

    async def end(self) -> None:
        """Close the server and its workers."""
        await super().close()

    async def is_as_new(self) -> bool:
        """Return True once no session is left, and False if one stays, such as a parked one."""
        sessions = self.app[SERVICES].sessions
        with suppress(TimeoutError):
            await eventually(lambda: len(sessions) == sessions.n_readers == 0, within_s=1.0)
        return len(sessions) == sessions.n_readers == sessions.n_parked == 0 and not sessions.draining


@pytest.fixture(scope="module")
async def kept_servers() -> AsyncIterator[list[LastingServer]]:
    """A list with the server that the last test of the file has left as it was, if any."""
    kept: list[LastingServer] = []
    yield kept
    for server in kept:
        await server.end()


@pytest.fixture
async def client(kept_servers: list[LastingServer]) -> AsyncIterator[Client]:
    """A client of a server with default settings, which has served earlier tests of the file: starting takes longer.

    A test of what happened since the start needs `start_server`.
    """
    server = (
        kept_servers.pop() if kept_servers else LastingServer(build_app(Config(engine=EngineConfig(engine="scripted"))))
    )
    async with TestClient(server) as client:
        assert await client.app[SERVICES].pool.wait_until_loaded() is PoolState.READY
        yield client
    if await server.is_as_new():
        kept_servers.append(server)
    else:
        await server.end()


@pytest.fixture(autouse=True)
async def nothing_is_left(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Check that no test leaves a task behind, or an error in the log that it did not expect."""
    before = asyncio.all_tasks()
    yield
    for task in asyncio.all_tasks() - before:
        assert not any(name in repr(task.get_coro()) for name in ("Connection", "Outbox", "Hub")), task
    faults = [record for record in caplog.get_records("call") if record.exc_info or record.levelno >= logging.CRITICAL]
    assert faults == []


async def read_event(socket: ClientWebSocketResponse) -> dict[str, Any]:
    message = await socket.receive(timeout=20)
    assert message.type is WSMsgType.TEXT, message
    event: dict[str, Any] = json.loads(message.data)
    return event


async def read_until(socket: ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    while (event := await read_event(socket))["type"] != kind:
        pass
    return event


async def read_to_the_close(socket: ClientWebSocketResponse) -> list[dict[str, Any]]:
    """Return all events up to the close. Then `socket.close_code` has its code."""
    events = []
    while (message := await socket.receive(timeout=20)).type is WSMsgType.TEXT:
        events.append(json.loads(message.data))
    return events


async def start_stream(client: Client, **options: Any) -> ClientWebSocketResponse:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", **options})
    assert (await read_event(socket))["type"] == "ready"
    return socket
