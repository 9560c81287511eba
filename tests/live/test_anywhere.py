"""Servers that share a database: a session is read at any of them, whichever has it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientWebSocketResponse

from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from tests.live.test_takeover import begin
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_until

Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
def serve(client: Client, start_server: StartServer, cluster: Cluster) -> Serve:
    """Start one more server with the same database; see `test_takeover`."""
    store = StoreConfig(cluster.empty_database())
    return lambda **settings: start_server(store=store, **settings)


async def server_sent(response: ClientResponse) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Yield the events of a reader with their cursors."""
    assert response.status == 200, await response.text()
    cursor = ""
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            cursor = value
        elif name == "data":
            yield cursor, json.loads(value)


async def read(client: Client, session: str, until: str = "end", **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Read along up to an event of this type."""
    events = []
    async with (
        client.get(f"/v1/sessions/{session}/events", **settings) as response,
        aclosing(server_sent(response)) as sent,
    ):
        async for each in sent:
            events.append(each)
            if each[1]["type"] == until:
                break
    return events


async def say(socket: ClientWebSocketResponse) -> dict[str, Any]:
    await socket.send_bytes(SPEECH + PAUSE)
    return await read_until(socket, "final")


async def stop(socket: ClientWebSocketResponse) -> None:
    await socket.send_json({"type": "stop"})
    await read_until(socket, "end")


async def test_a_reader_at_another_server_gets_the_same_events_with_the_same_cursors(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, _ = await begin(one)
    reading = [asyncio.ensure_future(read(server, ready["session"])) for server in (one, other)]
    await eventually(lambda: all(server.app[SERVICES].sessions.n_readers for server in (one, other)))
    for _ in range(3):
        await say(socket)
    await stop(socket)
    at_home, elsewhere = await asyncio.gather(*reading)
    assert [event["type"] for _, event in elsewhere if event["type"] in ("snapshot", "final", "end")] == [
        *("snapshot", "final", "final", "final", "end")
    ]
    assert elsewhere == at_home
