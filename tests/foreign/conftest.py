"""A server as `serve` runs it, in the process of the tests, for clients that are not ours."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server.lifecycle import running_server

OLD_CLIENTS = Path(__file__).parents[2] / "build" / "old-clients"
"""See old-clients.txt."""


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """The address of a server with the scripted engine, with `/` at its end. It speaks all protocols."""
    async with running_server(Config(engine=EngineConfig(engine="scripted"))) as address:
        yield address


@pytest.fixture
def old_clients() -> dict[str, str]:
    """The environment for a Python with the packages of old-clients.txt.

    Where they are missing, the tests are skipped, but not in continuous integration.
    """
    if not os.environ.get("CI") and not OLD_CLIENTS.is_dir():
        pytest.skip("the tests of old clients need their packages: see tests/foreign/old-clients.txt")
    assert OLD_CLIENTS.is_dir()
    return {**os.environ, "PYTHONPATH": str(OLD_CLIENTS)}
