"""TLS with a certificate that the server makes for the names and addresses of its machine."""

import asyncio
import os
import re
import socket
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from livecaption.config import Config, ServerConfig, StoreConfig
from livecaption.errors import ConfigError
from livecaption.ipc.config import EngineConfig
from livecaption.server import lifecycle, tls
from livecaption.server.addresses import interfaces, reachable
from livecaption.server.listening import Listener
from livecaption.server.reloading import file_state
from livecaption.server.services import SERVICES
from livecaption.workers.pool import PoolState
from tests.support.certificates import Authority, der, presented, written
from tests.support.eventually import eventually
from tests.support.serving import SPEECH, read_until
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
    listener = Listener.bind(ServerConfig(port=0))
    address = listener.sockets[0].getsockname()
    [url] = await listener.listen(runner, secured)
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
    database = replace(Config(), store=StoreConfig("postgresql://host/db"))
    assert tls.directory(database) == tmp_path / "livecaption"


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


def of_files(cert: Path, key: Path) -> Config:
    server = ServerConfig(tls_cert=str(cert), tls_key=str(key))
    return Config(server=server, engine=EngineConfig("scripted"))


def test_a_server_without_settings_of_tls_has_none() -> None:
    assert tls.of(Config()) is None


async def test_a_certificate_that_is_replaced_is_used_for_new_connections_and_open_streams_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first key is of RSA, and the second one is not: one context would present either, depending on the client."""
    monkeypatch.setattr(tls, "LOOK_INTERVAL_S", 0.01)
    authority = Authority()
    first, first_key = authority.issue("localhost", key=rsa.generate_private_key(65537, 2048))
    second, second_key = authority.issue("localhost")
    config = of_files(*written(tmp_path, first, first_key))
    secured = tls.Tls(config)
    runner = lifecycle._runner(config)
    listener = Listener.bind(ServerConfig(port=0))
    port = listener.sockets[0].getsockname()[1]
    [url] = await listener.listen(runner, secured)
    trusting = ssl.create_default_context(cadata=authority.pem.decode())

    def seen() -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            trusting.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""

    renewing = asyncio.ensure_future(secured.keep_valid())
    assert await runner.app[SERVICES].pool.wait_until_loaded() is PoolState.READY
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http,
        http.ws_connect(url.replace("127.0.0.1", "localhost") + "v1/stream") as stream,
    ):
        await stream.send_json({"type": "start"})
        await read_until(stream, "ready")
        assert await asyncio.to_thread(seen) == der(first)
        written(tmp_path, second, second_key)
        async with asyncio.timeout(20):
            while await asyncio.to_thread(seen) != der(second):
                pass
        await stream.send_bytes(SPEECH)
        await stream.send_json({"type": "stop"})
        assert (await read_until(stream, "final"))["text"]
        await read_until(stream, "end")
        assert (await stream.receive(timeout=20)).type is aiohttp.WSMsgType.CLOSE
    with pytest.raises(ssl.SSLError):
        presented(secured.context, ["ECDHE-RSA-AES128-GCM-SHA256"])
    renewing.cancel()
    await asyncio.wait({renewing})
    listener.close()
    await runner.cleanup()
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_pair_that_is_half_written_keeps_the_former_one_is_logged_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    looks: list[str] = []

    def counted(path: str) -> tuple[int, ...] | None:
        looks.append(path)
        return state(path)

    state = file_state
    monkeypatch.setattr(tls, "LOOK_INTERVAL_S", 0.001)
    monkeypatch.setattr(tls, "file_state", counted)
    authority = Authority()
    first, key = authority.issue("localhost")
    second, second_key = authority.issue("localhost")
    _, third_key = authority.issue("localhost")  # with the second, the server might read a pair between two writes
    secured = tls.Tls(of_files(*written(tmp_path, first, key)))
    renewing = asyncio.ensure_future(secured.keep_valid())
    for cert, its_key, complaint in ((second, key, "is not the key of"), (b"", third_key, "is empty")):
        written(tmp_path, cert, its_key)
        await eventually(lambda complaint=complaint: complaint in caplog.text)
        looks.clear()
        await eventually(lambda: len(looks) >= 10)
        assert caplog.text.count(complaint) == 1
        assert presented(secured.context) == der(first)
    written(tmp_path, second, second_key)
    await eventually(lambda: presented(secured.context) == der(second))
    looks.clear()
    await eventually(lambda: len(looks) >= 10)
    assert caplog.text.count("valid until") == 2
    renewing.cancel()
    await asyncio.wait({renewing})


async def test_an_unexpected_fault_of_a_look_does_not_end_the_renewal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "LOOK_INTERVAL_S", 0.001)
    authority = Authority()
    first, key = authority.issue("localhost")
    second, second_key = authority.issue("localhost")
    secured = tls.Tls(of_files(*written(tmp_path, first, key)))
    with monkeypatch.context() as broken:
        broken.setattr(tls, "file_state", lambda path: [][0])
        renewing = asyncio.ensure_future(secured.keep_valid())
        await eventually(lambda: "a look at the certificate failed" in caplog.text)
    written(tmp_path, second, second_key)
    assert caplog.text.count("a look at the certificate failed") == 1
    caplog.clear()
    await eventually(lambda: presented(secured.context) == der(second))
    renewing.cancel()
    await asyncio.wait({renewing})


def test_a_reload_reads_the_files_at_once_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    authority = Authority()
    first, second = authority.issue("localhost"), authority.issue("localhost")
    secured = tls.Tls(of_files(*written(tmp_path, *first)))
    written(tmp_path, second[0], first[1])
    with pytest.raises(ConfigError, match="is not the key of"):
        secured.read_again()
    assert presented(secured.context) == der(first[0])
    written(tmp_path, *second)
    secured.read_again()
    assert presented(secured.context) == der(second[0])


def test_the_log_has_the_end_of_a_certificate_and_why_clients_refuse_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tls.Tls(of_files(*written(tmp_path, *Authority().issue("localhost", begins=timedelta(days=-40)))))
    valid, expired = caplog.messages
    assert re.search(r"cert\.pem, valid until \d{4}-\d\d-\d\d$", valid)
    assert "it expired on" in expired
