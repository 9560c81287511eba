"""Servers whose workers have their engines in actors of the cluster."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.ray.conftest import Cluster
from tests.support.eventually import eventually
from tests.support.processes import ServerProcess, serving
from tests.support.streaming import Publisher

START_S = 60.0
"""The import of Ray takes three seconds, and many more on a busy machine."""


class FarServer:
    """A server, with its address."""

    def __init__(self, process: ServerProcess, url: str, n_workers: int) -> None:
        self.process = process
        self.url = url
        self._n_workers = n_workers

    async def whole(self) -> None:
        """Wait until each worker is ready."""

        def n_ready() -> int:
            return self.n_lines("is ready") - self.n_lines("the next one starts in")

        await eventually(lambda: n_ready() == self._n_workers, START_S)

    def n_lines(self, words: str) -> int:
        return sum(words in line for line in self.process.lines)

    async def get(self, path: str) -> dict[str, object]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}{path}") as answer:
            fields: dict[str, object] = json.loads(await answer.text())
            return fields


@asynccontextmanager
async def far_server(cluster: Cluster, *flags: str, n_workers: int = 1) -> AsyncIterator[FarServer]:
    """A server whose workers are ready, by default each with a quarter of the GPU."""
    always = ("--device", "ray:0.25", f"--workers={n_workers}", "--max-streams=20")
    async with serving(*always, *flags, environment=cluster.variables) as process:
        server = FarServer(process, await process.listening(), n_workers)
        before = set(cluster.actors())
        for number in range(1, n_workers + 1):
            await process.logged(f"worker {number} is ready", START_S)
        yield server
        process.send(signal.SIGKILL)
        await eventually(lambda: set(cluster.actors()) <= before)


async def stop_all(publishers: list[Publisher]) -> None:
    """End the streams."""
    for publisher in publishers:
        await publisher.stop()


def check_finals(publishers: list[Publisher], reason: str = "draining", close_code: int = 1001) -> None:
    """Check that each utterance has one final with text, and that no error was reported."""
    for publisher in publishers:
        publisher.check_complete(reason, close_code)
