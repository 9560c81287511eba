"""`livecaption health`, against a server that answers as a test has it."""

import ssl
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.cli import health
from livecaption.server import certificate


def server(status: int, hosts: list[str] | None = None) -> TestServer:
    async def healthz(request: web.Request) -> web.Response:
        if hosts is not None:
            hosts.append(request.headers["Host"])
        return web.json_response({"state": "alive"}, status=status)

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    return TestServer(application)


async def test_a_server_that_is_alive_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On all addresses, and without the name that only its clients use."""
    hosts: list[str] = []
    monkeypatch.setenv("LIVECAPTION_TOKEN", "s3cret")
    async with server(200, hosts) as running:
        for host in ("0.0.0.0", "127.0.0.1"):
            monkeypatch.setenv("LIVECAPTION_HOST", host)
            monkeypatch.setenv("LIVECAPTION_PORT", str(running.port))
            assert await health.run(Namespace()) == 0
    assert hosts == ["localhost", "localhost"]
    assert '{"state": "alive"}' in capsys.readouterr().out


async def test_a_server_with_tls_is_asked_with_tls(tmp_path: Path) -> None:
    """Its certificate has other names than the address of this machine, so it is not checked."""
    own = certificate.ensure(tmp_path, {"captions.example.org"}, datetime.now(UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.path)
    running = server(200)
    await running.start_server(ssl=context)
    pem = str(own.path)
    assert await health.run(Namespace(port=running.port, **{"tls-cert": pem, "tls-key": pem})) == 0
    await running.close()


async def test_a_server_that_is_not_alive_ends_with_1_and_the_reason(
    unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with server(500) as running:
        assert await health.run(Namespace(port=running.port)) == 1
    assert await health.run(Namespace(port=unused_tcp_port)) == 1
    assert await health.run(Namespace(port="x")) == 1  # Docker keeps the code 2 for itself
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.endswith("status 500")
    assert second.endswith("Connection refused")
    assert "--port must be a whole number" in third
