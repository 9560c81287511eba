"""A server of several processes, as a test sees it."""

import os
import re
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.processes import ServerProcess
from tests.support.restarts import Reader


def pids(server: ServerProcess) -> dict[int, int]:
    """Return the process ids of the processes that were started last, by their numbers."""
    started = [re.search(r"process (\d+) started \(pid (\d+)\)", line) for line in server.lines]
    return {int(match[1]): int(match[2]) for match in started if match}


@asynccontextmanager
async def client_of(
    number: int, server: ServerProcess, tls: ssl.SSLContext | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client with one connection, which the process with this number has accepted. Requests use it in turn."""
    others = [pid for other, pid in pids(server).items() if other != number]
    connector = aiohttp.TCPConnector(limit=1, ssl=tls or True)
    async with aiohttp.ClientSession(connector=connector, base_url=await server.listening()) as http:
        try:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)  # the others accept nothing
            async with http.get("healthz") as answer:
                assert answer.status == 200
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
        yield http


async def stats(url: str) -> dict[str, Any]:
    """Return `/v1/stats`, from whichever process answers."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}v1/stats") as response:
        found: dict[str, Any] = await response.json()
        return found


async def get(url: str, path: str) -> tuple[int, str]:
    """Return the status and the body of a path, over a connection of its own."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}{path}") as response:
        return response.status, await response.text()


async def process_of_stream(url: str) -> int:
    """Return the number of the process that has the only stream."""
    processes = (await stats(url))["processes"]
    (number,) = [int(name) for name, figures in processes.items() if figures and figures["streams"]["open"]]
    return number


async def texts_read(url: str, session: str) -> list[str]:
    """Read a session to its end, and return the texts of its finals. A broken connection is made again."""
    reader = Reader(url, session)
    await reader.run()
    return list(reader.lines.values())
