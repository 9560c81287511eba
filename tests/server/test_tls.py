"""TLS with a certificate that the server makes for the names and addresses of its machine."""

import asyncio
import os
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from livecaption.config import Config, ServerConfig, StoreConfig
from livecaption.errors import ConfigError
from livecaption.ipc.config import EngineConfig
from livecaption.server import lifecycle, tls
from livecaption.server.addresses import interfaces, reachable
from livecaption.server.listening import Listener
from tests.support.eventually import eventually
from tests.support.users import without_home


def self_signed(store: Path) -> Config:
    server = ServerConfig(tls_self_signed=True, allowed_hosts=("Hall-1",), public_url="https://captions.example.org")
    return Config(server=server, store=StoreConfig(str(store)), engine=EngineConfig("scripted"))


async def test_a_client_that_trusts_the_certificate_reaches_the_server_by_its_names_and_addresses(
    tmp_path: Path,
) -> None:
    config = self_signed(tmp_path / "transcripts.db")
    secured = tls.of(config)
    runner = lifecycle._runner(replace(config, store=StoreConfig()))
    listener = Listener.bind("127.0.0.1", 0)
    address = listener.sockets[0].getsockname()
    url = await listener.listen(runner, secured)
    trusting = ssl.create_default_context(cafile=tmp_path / "self-signed.pem")

    async def reached(name: str) -> bytes:
        reader, writer = await asyncio.open_connection(*address, ssl=trusting, server_hostname=name)
        writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return answer

    for name in ("localhost", "127.0.0.1", socket.gethostname(), *reachable(interfaces()), "hall-1"):
        assert b"200 OK" in await reached(name)
    with pytest.raises(ssl.SSLCertVerificationError):
        await reached("other.example")
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):  # nobody vouches for it
            await client.get(f"{url}healthz")
    listener.close()
    await runner.cleanup()


async def test_a_certificate_is_renewed_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(tls, "CHECK_INTERVAL_S", 0.01)
    secured = tls.Tls(self_signed(tmp_path / "transcripts.db"))
    assert caplog.text.count("SHA-256 fingerprint") == 1
    os.unlink(tmp_path / "self-signed.pem")
    renewing = asyncio.ensure_future(secured.keep_valid())
    await eventually(lambda: caplog.text.count("SHA-256 fingerprint") == 2)
    renewing.cancel()
    await asyncio.wait({renewing})


def test_the_certificate_is_kept_beside_the_transcripts_or_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert tls.directory(self_signed(Path("/data/transcripts.db"))) == Path("/data")
    assert tls.directory(Config()) == tmp_path / "livecaption"


def test_a_certificate_of_a_user_without_a_home_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory with the name ~ was made where the server was started."""
    without_home(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for config in (self_signed(Path("none")), self_signed(Path("~/transcripts.db"))):
        with pytest.raises(ConfigError, match="the home directory is unknown: set HOME"):
            tls.Tls(config)
    assert list(tmp_path.iterdir()) == []


def test_the_certificate_has_every_name_under_which_the_server_answers(tmp_path: Path) -> None:
    names = tls.names(self_signed(tmp_path / "transcripts.db"))
    assert {"localhost", "127.0.0.1", "::1", "hall-1", "captions.example.org", *reachable(interfaces())} <= names


def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    pem = tmp_path / "no.pem"
    pem.write_text("no certificate")
    with pytest.raises(ConfigError, match="--tls-cert, --tls-key: "):
        tls.of(Config(server=ServerConfig(tls_cert=str(pem), tls_key=str(pem))))
    assert tls.of(Config()) is None
