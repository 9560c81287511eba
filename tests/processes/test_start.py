"""A server that cannot start ends at once, with one line of advice, and leaves nothing behind.

The numbers of rows are those of the fault matrix.
"""

import hashlib
import signal
import socket
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest

from livecaption.engine.models import HUB_REVISIONS, find_model
from livecaption.server.addresses import interfaces, reachable
from tests.support.processes import ServerProcess, assert_clean_end, serving

pytestmark = pytest.mark.processes


async def cannot_start(server: ServerProcess) -> str:
    """Return the only line that the server logs before it ends with code 3."""
    assert await server.exited(within_s=5) == 3
    [line] = server.lines
    return line


@pytest.mark.usefixtures("cold_processes")
async def test_a_taken_port_is_named_and_no_worker_is_started() -> None:
    """Row 31."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with serving("--port", str(port)) as server:
            assert f"127.0.0.1 port {port}: another program uses it (--port)" in await cannot_start(server)
            await server.tree_gone()


async def test_a_taken_port_of_a_protocol_is_named_with_its_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with serving("--wyoming-port", str(port)) as server:
            assert f"127.0.0.1 port {port}: another program uses it (--wyoming-port)" in await cannot_start(server)
            await server.tree_gone()


async def test_an_address_of_another_machine_is_refused() -> None:
    async with serving("--host", "192.0.2.1", "--insecure") as server:
        assert "cannot listen on 192.0.2.1 port 0" in await cannot_start(server)
        await assert_clean_end(server)


async def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    pem = tmp_path / "no.pem"
    pem.write_text("no certificate")
    async with serving("--tls-cert", str(pem), "--tls-key", str(pem)) as server:
        assert "--tls-cert" in await cannot_start(server)
        await assert_clean_end(server)


async def test_a_host_name_is_listened_on_at_all_its_addresses() -> None:
    async with serving("--host", "localhost") as server:
        assert (await server.ready()).startswith("http://")


@pytest.mark.usefixtures("cold_processes")
async def test_a_server_for_the_hall_shows_its_addresses_its_fingerprint_and_what_it_keeps(tmp_path: Path) -> None:
    """People at other machines get a secure page and the captions, but no list of transcripts."""
    addresses = [address for address in reachable(interfaces()) if ":" not in address]
    if not addresses:
        pytest.skip("this machine has no network in which others could reach it")
    flags = ("--host", "0.0.0.0", "--insecure", "--tls-self-signed")
    environment = {"LIVECAPTION_STORE": str(tmp_path / "transcripts.db")}
    async with serving(*flags, environment=environment) as server:
        url = await server.listening()
        port = url.rstrip("/").rpartition(":")[2]
        assert url == f"https://127.0.0.1:{port}/"  # browsers do not open 0.0.0.0
        shown = (await server.logged(r"other machines open (.*)$"))[1].split(", ")
        assert shown == [f"https://{address}:{port}/" for address in addresses]
        await server.logged(rf"transcripts are kept in {tmp_path}/transcripts.db for 30 days")
        fingerprint = (await server.logged(r"SHA-256 fingerprint is ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})$"))[1]
        trusting = ssl.create_default_context(cafile=tmp_path / "self-signed.pem")
        connector = aiohttp.TCPConnector(ssl=trusting)
        async with aiohttp.ClientSession(connector=connector) as http:

            async def ask(method: str, url: str) -> tuple[int, str]:
                async with http.request(method, url) as answer:
                    if answer.connection is not None:
                        der = answer.connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
                        assert hashlib.sha256(der).digest().hex(":").upper() == fingerprint
                    content = await answer.json()
                    return answer.status, str(content.get("code") or content.get("addresses"))

            here, there = f"https://localhost:{port}", f"https://{addresses[0]}:{port}"
            assert await ask("GET", f"{here}/v1/info") == (200, str(shown))
            assert await ask("GET", f"{there}/v1/info") == (200, "[]")
            assert await ask("GET", f"{here}/v1/sessions") == (200, "None")
            for method, path in (("GET", "/v1/sessions"), ("GET", "/v1/sessions?q=word"), ("DELETE", "/v1/sessions/x")):
                assert await ask(method, there + path) == (403, "local_only")
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=5) == 0
        await assert_clean_end(server)


async def test_the_collector_of_garbage_is_spared_what_is_loaded_before_streams_come() -> None:
    """Otherwise each collection would hold the loop for 50 ms or more."""
    program = """if True:
        import gc, runpy, sys
        freeze = gc.freeze
        gc.freeze = lambda: (freeze(), print("spared", gc.get_freeze_count(), file=sys.stderr))
        runpy.run_module("livecaption", run_name="__main__", alter_sys=True)
    """
    async with serving(command=(sys.executable, "-c", program)) as server:
        await server.ready()
        assert int((await server.logged(r"^spared (\d+)$"))[1]) > 10_000
        spared, ready = (
            next(n for n, line in enumerate(server.lines) if word in line) for word in ("spared", ": ready")
        )
        assert spared < ready


@pytest.mark.model
async def test_the_log_and_the_server_name_the_commit_of_the_model(tmp_path: Path) -> None:
    revision = HUB_REVISIONS["Systran/faster-whisper-tiny.en"]
    snapshots = tmp_path / "hub" / "models--Systran--faster-whisper-tiny.en" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / revision).symlink_to(find_model().directory)
    environment = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    flags = ("--model", "Systran/faster-whisper-tiny.en", "--workers", "1")
    async with serving(*flags, engine="", environment=environment) as server:
        await server.logged(rf"worker 1 is ready: Systran/faster-whisper-tiny\.en@{revision} \(int8\)")
        async with aiohttp.ClientSession() as http, http.get(f"{await server.ready()}v1/info") as answer:
            assert (await answer.json())["model"]["revision"] == revision


@pytest.mark.model
async def test_a_model_that_cannot_translate_as_it_should_ends_the_start_with_one_line_and_code_3() -> None:
    """The model of one language is found only once it is loaded."""
    async with serving("--translate", "en", "--workers", "1", engine="") as server:
        assert await server.exited(within_s=30) == 3
        errors = [line for line in server.lines if " ERROR " in line]
        assert len(errors) == 1
        assert "--translate: model tiny.en cannot translate" in errors[0]
        await assert_clean_end(server)


@pytest.mark.model
async def test_speakers_without_a_network_for_voices_end_the_start_with_the_command_and_code_3(tmp_path: Path) -> None:
    environment = {"XDG_DATA_HOME": str(tmp_path)}
    async with serving("--speakers", "--workers", "1", engine="", environment=environment) as server:
        assert await server.exited(within_s=30) == 3
        errors = [line for line in server.lines if " ERROR " in line]
        assert len(errors) == 1
        assert errors[0].endswith(
            "--speakers needs a network for voices, which is not installed: run livecaption models install speakers"
        )
        await assert_clean_end(server)


async def test_a_server_whose_model_had_no_memory_at_first_becomes_ready(tmp_path: Path) -> None:
    """Row 53: such as that of a server before it, which the driver of the GPU has not freed yet."""
    (tmp_path / "memory").write_bytes(b"..")
    async with serving("--model", f"no-memory {tmp_path / 'memory'}") as server:
        await server.ready()
        assert server.output.count("No memory for the scripted engine; the server tries again after 1.0 s") == 1
        assert "worker 3 is ready" in server.output
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=8.0) == 0
