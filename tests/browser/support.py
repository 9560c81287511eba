"""The browser tests share the places of things, and the types of their fixtures."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """A running `livecaption serve`."""

    url: str
    process: asyncio.subprocess.Process

    @property
    def port(self) -> str:
        return self.url.rstrip("/").rpartition(":")[2]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


# Both take flags of the command line.
Launch = Callable[..., Awaitable[Browser]]
Serve = Callable[..., Awaitable[Server]]
