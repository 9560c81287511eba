"""Listening: the sockets, and the addresses that people are shown."""

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server import lifecycle, tls
from livecaption.server.config import HttpLimits, ServerConfig
from livecaption.server.listening import Listener


@pytest.fixture
def certificate(tmp_path: Path) -> ServerConfig:
    """Make a self-signed certificate."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 1"
    subprocess.run([*command.split(), "-out", cert, "-keyout", key], check=True, capture_output=True)
    return ServerConfig(tls_cert=str(cert), tls_key=str(key))


async def test_a_connection_that_does_not_begin_with_tls_is_closed_as_early_as_one_that_asks_for_nothing(
    certificate: ServerConfig,
) -> None:
    config = Config(
        engine=EngineConfig("scripted"), server=replace(certificate, http=HttpLimits(keepalive_timeout_s=0.3))
    )
    runner = lifecycle._runner(config)
    listener = Listener.bind("127.0.0.1", 0)
    url = await listener.listen(runner, tls.of(config))
    assert url.startswith("https://")
    async with aiohttp.ClientSession() as client, client.get(f"{url}healthz", ssl=False) as answer:
        assert answer.status == 200
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    listener.close()
    await runner.cleanup()
