"""Two servers with one database behind the real HAProxy and nginx, with their examples of packaging/proxies."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from livecaption.client import StreamEvent, transcribe
from livecaption.events import Partial, Ready
from livecaption.recognition import SessionId, logged_id
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.processes import ServerProcess, serving
from tests.support.proxies import ROOT_NAME, before_cells, unchecked
from tests.support.restarts import SETTINGS, assert_same_utterances, captioned, finals_of, paced
from tests.support.stored import stored_texts

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

ROOM = {"--max-streams=20": 20, "--max-streams=80": 80}
"""The flag of each server, and the clients that it takes. A balancer that only counts connections would fill one."""


@pytest.fixture(params=["haproxy", "nginx"])
def proxy(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@asynccontextmanager
async def cells(
    proxy: str, directory: Path, stores: str | list[str], *own: str
) -> AsyncIterator[tuple[str, list[ServerProcess]]]:
    """Run two servers, and a proxy before them. Yield its address, and the servers.

    `stores`: the address of the database, or one for each of the servers. `own`: a flag for each of them.
    """
    common = ("--trusted-proxy", "127.0.0.1", "--allowed-host", ROOT_NAME)
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serving("--store", store, *common, *own[number : number + 1]))
            for number, store in enumerate([stores, stores] if isinstance(stores, str) else stores)
        ]
        places = [urlsplit(await server.ready()).netloc for server in servers]
        yield await stack.enter_async_context(before_cells(proxy, directory, places)), servers


async def test_nobody_is_refused_while_a_server_has_room(proxy: str, cluster: Cluster, tmp_path: Path) -> None:
    """All clients come at the same time. A full server still answers all else."""
    async with (
        cells(proxy, tmp_path, cluster.empty_database(), *ROOM) as (url, servers),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=unchecked())) as http,
    ):

        async def stream() -> aiohttp.ClientWebSocketResponse:
            socket = await http.ws_connect(f"{url}v1/stream", headers={"Host": ROOT_NAME})
            await socket.send_json({"type": "start"})
            assert (await socket.receive_json())["type"] == "ready"
            return socket

        streams = await asyncio.gather(*(stream() for _ in range(sum(ROOM.values()))))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stream()
        assert refused.value.status == 503
        for _ in servers:
            async with http.get(f"{url}v1/info", headers={"Host": ROOT_NAME}) as answer:
                assert answer.status == 200
        for socket in streams:
            await socket.close()


async def test_a_stream_goes_on_at_the_other_server_when_its_own_is_killed(
    proxy: str, cluster: Cluster, tmp_path: Path
) -> None:
    async with cells(proxy, tmp_path, cluster.empty_database()) as (url, servers):
        unbroken = finals_of(await captioned(await servers[0].ready()))
        events: list[StreamEvent] = []
        talking = asyncio.ensure_future(transcribe(url, paced(), events.append, SETTINGS, ssl=unchecked()))
        await eventually(lambda: any(isinstance(event, Partial) and event.utterance > 0 for event in events))
        assert isinstance(events[0], Ready)
        session = events[0].session
        [its_own] = [
            server for server in servers if f"session={logged_id(SessionId(session))} started" in server.output
        ]
        its_own.send(signal.SIGKILL)
        async with asyncio.timeout(60):
            await talking
        assert_same_utterances(finals_of(events), unbroken)
        assert stored_texts(cluster, session) == [(final.utterance, final.text) for final in finals_of(events)]
