"""Listening: the sockets, and the addresses that people are shown."""

import asyncio
import errno
import os
import socket
import stat
import subprocess
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from livecaption.cli import health
from livecaption.config import Config
from livecaption.errors import ConfigError
from livecaption.ipc.config import EngineConfig
from livecaption.server import lifecycle, tls
from livecaption.server.config import HttpLimits, ServerConfig
from livecaption.server.listening import (
    Listener,
    endpoints,
    host_of,
    warn_of_weak_token,
    why_not,
    with_address_of,
)
from livecaption.server.services import SERVICES
from livecaption.workers.pool import PoolState
from tests.support.cases import for_each
from tests.support.serving import SPEECH, read_until


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
    listener = Listener.bind(ServerConfig(port=0))
    [url] = await listener.listen(runner, tls.of(config))
    assert url.startswith("https://")
    async with aiohttp.ClientSession() as client, client.get(f"{url}healthz", ssl=False) as answer:
        assert answer.status == 200
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    listener.close()
    await runner.cleanup()


HAS_IPV6 = socket.has_dualstack_ipv6() and Path("/proc/net/if_inet6").is_file()


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    listener = Listener.bind(ServerConfig(host="::", port=0, insecure=True))
    [bound] = listener.sockets
    port = bound.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), timeout=20).close()
    assert endpoints([bound]) == [("0.0.0.0", port), ("::", port)]
    listener.close()
    alone = socket.create_server(("::", 0), family=socket.AF_INET6)
    assert endpoints([alone]) == [("::", alone.getsockname()[1])]
    alone.close()


def test_an_address_that_the_machine_lacks_is_left_out_if_the_name_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """In many containers, `localhost` stands for `::1`, which they do not have."""

    def of_addresses(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    of_addresses("192.0.2.1", "127.0.0.1")
    listener = Listener.bind(ServerConfig(host="hall", port=0, insecure=True))
    assert [host_of(bound) for bound in listener.sockets] == ["127.0.0.1"]
    listener.close()
    of_addresses("192.0.2.1")
    with pytest.raises(OSError, match="Cannot assign requested address"):
        Listener.bind(ServerConfig(host="hall", port=0, insecure=True))


@for_each(
    ("number", "host", "words"),
    [
        (errno.EADDRINUSE, "127.0.0.1", "127.0.0.1 port 8000: another program uses it (--port)"),
        (errno.EADDRNOTAVAIL, "192.0.2.1", "192.0.2.1 port 8000: this machine does not have this address"),
        (errno.EAFNOSUPPORT, "::", ":: port 8000: this machine has no IPv6, and --host 0.0.0.0 serves IPv4"),
        (errno.EACCES, "127.0.0.1", "127.0.0.1 port 8000: Permission denied"),
        (errno.ENOENT, "unix:/run/x/socket", "unix:/run/x/socket: No such file or directory"),
    ],
)
def test_an_address_that_cannot_be_used_is_named_with_the_reason(number: int, host: str, words: str) -> None:
    error = OSError(number, os.strerror(number))
    assert why_not(error, ServerConfig(host=host)) == f"cannot listen on {words}"


# Unix sockets


@for_each(
    ("settings", "is_warned"),
    [
        ({"token": "s" * 15, "host": "0.0.0.0"}, True),
        ({"token": "s" * 15, "public_url": "https://captions.example.org"}, True),
        ({"token": "s" * 15}, False),
        ({"token": "s" * 15, "host": "unix:/run/livecaption/socket"}, False),
        ({"token": "s" * 16, "host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "tokens": "keys.toml"}, False),
    ],
)
def test_a_short_token_of_a_server_that_others_reach_is_a_warning(
    settings: dict[str, str], is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    warn_of_weak_token(ServerConfig(**settings))
    assert ("print(secrets.token_urlsafe())" in caplog.text) == is_warned
    assert "s" * 15 not in caplog.text


def on_unix(path: Path) -> ServerConfig:
    return ServerConfig(host=f"unix:{path}", trusted_proxies=("unix:",))


async def test_a_unix_socket_serves_pages_streams_and_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "socket"
    config = Config(engine=EngineConfig("scripted"), server=on_unix(path))
    runner = lifecycle._runner(config)
    listener = Listener.bind(config.server)
    assert await listener.listen(runner, None) == [f"unix:{path}"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert await runner.app[SERVICES].pool.wait_until_loaded() is PoolState.READY
    monkeypatch.setenv("LIVECAPTION_HOST", f"unix:{path}")
    assert await health.run(Namespace()) == 0
    assert f"at unix:{path}" in capsys.readouterr().out
    # Its peers have no address, so nobody counts as the operator on this machine.
    passed = {"Host": "localhost", "X-Forwarded-Host": "captions.example.org", "X-Forwarded-For": "203.0.113.5"}
    async with aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(path))) as http:
        for address, headers, status in (
            ("/", {}, 200),
            ("/v1/sessions", {}, 403),
            ("/", {"Host": "captions.example.org"}, 403),
            ("/", passed, 403),
        ):
            async with http.get(address, headers=headers) as answer:
                assert (address, headers, answer.status) == (address, headers, status)
        async with http.get("/v1/info") as answer:
            assert (await answer.json())["addresses"] == []
        async with http.ws_connect("/v1/stream") as stream:
            await stream.send_json({"type": "start"})
            await read_until(stream, "ready")
            await stream.send_bytes(SPEECH)
            await stream.send_json({"type": "stop"})
            assert (await read_until(stream, "final"))["text"]
    listener.close()
    assert not path.exists()
    await runner.cleanup()


def test_a_unix_socket_that_a_killed_server_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    Listener.bind(on_unix(path)).sockets[0].close()
    assert path.is_socket()
    listener = Listener.bind(on_unix(path))
    with pytest.raises(ConfigError, match="another program listens on it"):
        Listener.bind(on_unix(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_or_that_a_later_server_has_made_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("notes")
    with pytest.raises(ConfigError, match="a file that is no socket is there"):
        Listener.bind(on_unix(path))
    assert path.read_text() == "notes"
    path.unlink()
    earlier = Listener.bind(on_unix(path))
    path.rename(tmp_path / "moved")
    later = Listener.bind(on_unix(path))
    earlier.close()
    assert path.is_socket()
    later.close()


@for_each("path", ["", "a" * 108])
def test_a_path_that_no_unix_socket_can_have_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="unix: needs the path of a socket, of at most 107 bytes"):
        ServerConfig(host=f"unix:{path}")


# Sockets of systemd


def test_a_socket_of_systemd_stands_in_place_of_host_and_port(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests are checked as if the settings had its address. Of several, the one that others reach decides."""
    caplog.set_level("INFO", "livecaption")
    path = tmp_path / "socket"
    with socket.create_server(("0.0.0.0", 0)) as public, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(path))
        port = public.getsockname()[1]
        assert with_address_of([local], ServerConfig(host="0.0.0.0", insecure=True)).host == f"unix:{path}"
        assert caplog.messages == ["systemd opened the sockets, and --host and --port are not used"]
        for given in ([public], [local, public]):
            server = with_address_of(given, ServerConfig(token="s3cret"))
            assert (server.host, server.port) == ("0.0.0.0", port)
            with pytest.raises(
                ConfigError, match=rf"0\.0\.0\.0 port {port}, accepts other machines: set LIVECAPTION_TOKEN"
            ):
                with_address_of(given, ServerConfig())
