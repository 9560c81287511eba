"""Connections that processes hand over to each other, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from livecaption.server import handover
from livecaption.server.config import Place
from livecaption.server.handover import Handover

TAKEN, REFUSED = "taken by the second process", "refused"
MAX_WAITING = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())


@asynccontextmanager
async def two(directory: Path, n_at_once: int) -> AsyncIterator[tuple[str, Handover]]:
    """Run a process that gives its clients to a second one, this many at once. Yield its address and the second one."""
    first, second = (Handover(Place(number, 2, str(directory))) for number in (1, 2))
    together = asyncio.Barrier(n_at_once)

    async def give(request: web.BaseRequest) -> web.Response:
        await together.wait()
        return web.Response(text="gone" if await first.give(request, 2) else REFUSED)

    async def take(_: web.BaseRequest) -> web.Response:
        return web.Response(text=TAKEN)

    async with AsyncExitStack() as stack:
        second.open(web.Server(take))
        stack.callback(second.close)
        runner = web.ServerRunner(web.Server(give))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", second
        await second.finish(within_s=5)


async def ask(url: str) -> str:
    async with ClientSession() as http, http.get(url) as response:
        return await response.text()


async def test_more_connections_than_can_wait_are_all_handed_over(tmp_path: Path) -> None:
    n_clients = MAX_WAITING + 5
    async with two(tmp_path, n_clients) as (url, _):
        assert await asyncio.gather(*(ask(url) for _ in range(n_clients))) == [TAKEN] * n_clients


async def test_a_process_that_hangs_takes_those_that_wait_once_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "FULL_S", 0.05)
    n_clients = MAX_WAITING + 5
    async with two(tmp_path, n_clients) as (url, second):
        assert second._socket is not None
        asyncio.get_running_loop().remove_reader(second._socket)
        asking = [asyncio.ensure_future(ask(url)) for _ in range(n_clients)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        asyncio.get_running_loop().add_reader(second._socket, second._receive, second._socket)
        answers = await asyncio.gather(*asking)
        n_refused = answers.count(REFUSED)
        assert (0 < n_refused <= 5, answers.count(TAKEN)) == (True, n_clients - n_refused)
