"""`livecaption doctor` and each of its checks."""

import asyncio
import socket
import sqlite3
import sys
import types
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.cli.doctor import (
    check_certificate,
    check_cores,
    check_database,
    check_decoder,
    check_device,
    check_keys,
    check_microphone,
    check_model,
    check_own_certificate,
    check_port,
    check_sinks,
    check_speakers,
    check_store,
)
from livecaption.config import Config
from livecaption.decoding.decoder import DecoderConfig
from livecaption.delivery.config import DeliveryConfig
from livecaption.errors import StoreUnusable
from livecaption.ipc.config import EngineConfig
from livecaption.keys import Key, Role, as_toml, hash_of
from livecaption.server.config import ServerConfig
from livecaption.store.config import StoreConfig, default_path
from livecaption.store.ownership import TAKEN, acquire
from tests.support.certificates import Authority, written
from tests.support.commands import livecaption_command
from tests.support.postgresql import Cluster
from tests.support.processes import processes_with
from tests.support.speaker_model import DATA_HOME, installed_network
from tests.support.users import without_home


def config(**engine: object) -> Config:
    return Config(engine=EngineConfig(**engine))


# Model, device, cores


async def test_a_model_that_is_not_here_fails_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    finding = await check_model(config(model="large-v3"))
    assert finding.state == "fails"
    assert finding.text == "large-v3 is not on this machine: livecaption models download large-v3"


async def test_a_name_of_no_model_fails() -> None:
    finding = await check_model(config(model="klingon"))
    assert (finding.state, finding.text[:18]) == ("fails", "No model 'klingon'")


@pytest.mark.processes
async def test_a_model_that_cannot_be_loaded_fails_with_the_reason() -> None:
    finding = await check_model(config(engine="scripted", model="no such script"))
    assert finding.state == "fails"
    assert "no such script" in finding.text


async def test_all_gpus_of_a_machine_without_one_are_no_device() -> None:
    everywhere = config(device="cuda:all")
    findings = [await check_model(everywhere), check_device(everywhere), check_cores(everywhere)]
    assert [finding.state for finding in findings] == ["fails"] * 3
    assert {finding.text.partition(";")[0] for finding in findings} == {
        "--device cuda:all: there is no NVIDIA GPU here (no file /dev/nvidia0), or CUDA_VISIBLE_DEVICES hides it"
    }


def test_a_cpu_is_a_device_and_a_gpu_that_is_not_there_is_none() -> None:
    assert check_device(config(device="cpu")).text == "cpu with int8"
    assert check_device(config(device="ray:0.5,cpu")).text == "cpu with int8, a GPU of the Ray cluster"
    finding = check_device(config(device="cpu, cuda:9"))
    assert finding.state == "fails"
    assert "No CUDA device" in finding.text


def test_more_threads_than_cores_are_a_warning() -> None:
    assert check_cores(config(threads=1)).state == "ok"
    finding = check_cores(config(threads=1000))
    assert finding.state == "warning"
    assert "--threads" in finding.text


# Decoder and microphone


@pytest.mark.processes
async def test_the_decoder_decodes_a_generated_recording() -> None:
    assert (await check_decoder(Config())).state == "ok"


@pytest.mark.processes
async def test_a_decoder_that_does_not_start_fails() -> None:
    finding = await check_decoder(Config(), DecoderConfig(start_timeout_s=0.001))
    assert finding.state == "fails"
    assert "no decoder for the container could be started" in finding.text


def test_a_microphone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    device = {"name": "the microphone", "default_samplerate": 48_000.0}
    module = types.SimpleNamespace(query_devices=lambda kind: device)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    finding = check_microphone(Config())
    assert (finding.state, finding.text) == ("ok", "the microphone, 48000 Hz")


def test_a_missing_microphone_is_a_warning_because_the_page_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    finding = check_microphone(Config())
    assert finding.state == "warning"
    assert "pip install sounddevice" in finding.text


def test_a_sound_library_without_a_device_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def query_devices(kind: str) -> None:
        raise ValueError("Error querying device -1")

    module = types.SimpleNamespace(query_devices=query_devices, PortAudioError=ValueError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    finding = check_microphone(Config())
    assert finding.state == "warning"
    assert "Error querying device -1" in finding.text


# Port and store


def on_port(port: int) -> Config:
    return Config(server=ServerConfig(host="127.0.0.1", port=port))


async def test_a_free_port_is_fine(unused_tcp_port: int) -> None:
    finding = await check_port(on_port(unused_tcp_port))
    assert (finding.state, finding.text) == ("ok", f"127.0.0.1 port {unused_tcp_port} is free")


async def test_a_port_of_another_program_fails() -> None:
    application = web.Application()
    async with TestServer(application) as server:
        finding = await check_port(on_port(server.port))
    assert finding.state == "fails"
    assert "--port" in finding.text


async def test_a_port_of_livecaption_is_fine() -> None:
    async def info(_: web.Request) -> web.Response:
        return web.json_response({"version": "0.1.0", "protocol": 1})

    application = web.Application()
    application.router.add_get("/v1/info", info)
    async with TestServer(application) as server:
        finding = await check_port(on_port(server.port))
        assert finding.state == "ok"
        assert finding.text == f"livecaption 0.1.0 runs on 127.0.0.1 port {server.port} already"


async def test_an_address_of_another_machine_fails() -> None:
    finding = await check_port(Config(server=ServerConfig(host="192.0.2.1", port=8000, insecure=True)))
    assert finding.state == "fails"


def in_store(path: object) -> Config:
    return Config(store=StoreConfig(str(path)))


def test_a_store_is_named_with_its_size_and_nothing_is_made(tmp_path: Path) -> None:
    finding = check_store(in_store(tmp_path / "new" / "transcripts.db"))
    assert finding.state == "ok"
    assert f"{tmp_path}/new/transcripts.db, not there yet, " in finding.text
    assert list(tmp_path.iterdir()) == []
    acquire(tmp_path / "transcripts.db").close()
    made = sorted(tmp_path.iterdir())
    finding = check_store(in_store(tmp_path / "transcripts.db"))
    assert (finding.state, "transcripts.db, 0.1 MB, " in finding.text) == ("ok", True), finding.text
    assert sorted(tmp_path.iterdir()) == made


def test_a_file_that_the_server_would_refuse_fails_with_its_words_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.db"
    path.write_text("minutes of a meeting\n" * 100)
    assert refused(path) == "file is not a database"
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE photo (name)")
    assert refused(path) == "it is the database of another program"
    assert list(tmp_path.iterdir()) == [path]


def refused(path: Path) -> str:
    """Check a file that the server refuses too. Return the reason, which is the same."""
    before = path.read_bytes()
    finding = check_store(in_store(path))
    assert path.read_bytes() == before
    with pytest.raises(StoreUnusable) as refusal:
        acquire(path)
    Path(f"{path}.lock").unlink()
    assert (finding.state, finding.text) == ("fails", refusal.value.message)
    return finding.text.removeprefix(f"cannot keep transcripts in {path}: ").partition(" (")[0]


async def test_a_store_of_a_server_fails_unless_that_is_the_server_of_these_settings(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    async def info(_: web.Request) -> web.Response:
        return web.json_response({"version": "0.1.0", "protocol": 1})

    path = tmp_path / "transcripts.db"
    application = web.Application()
    application.router.add_get("/v1/info", info)
    async with TestServer(application) as server:
        with closing(acquire(path)):
            for port, state in ((server.port, "ok"), (unused_tcp_port, "fails")):
                config = replace(on_port(port), store=StoreConfig(str(path)))
                finding = await asyncio.to_thread(check_store, config)
                assert (finding.state, TAKEN in finding.text) == (state, state == "fails")
            with pytest.raises(StoreUnusable):  # the server has it still
                acquire(path)


def test_a_store_that_is_not_wanted_is_fine() -> None:
    assert check_store(in_store("none")).state == "ok"


async def test_a_database_is_asked_and_nothing_is_made(cluster: Cluster) -> None:
    address = cluster.empty_database()
    finding = await check_database(in_store(address))
    assert (finding.state, finding.text) == ("ok", f"postgresql://127.0.0.1:{cluster.port}/postgres answers")
    assert cluster.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    finding = await check_database(in_store(cluster.address("postgres", "wrong-password")))
    assert finding.state == "fails"
    assert "password authentication failed" in finding.text
    assert "wrong-password" not in finding.text


@pytest.mark.parametrize("path", ["", "file/transcripts.db"])
def test_a_store_that_cannot_be_a_file_fails(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    finding = check_store(in_store(tmp_path / path))
    assert finding.state == "fails"
    assert "--store" in finding.text


def test_a_store_of_a_user_without_a_home_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    finding = check_store(in_store(default_path()))
    assert finding.state == "fails"
    assert "the home directory is unknown: set HOME, or --store" in finding.text


def test_a_store_without_permission_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    finding = check_store(in_store(tmp_path / "transcripts.db"))
    assert finding.state == "fails"
    assert "no permission" in finding.text


def test_a_disk_that_is_nearly_full_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=1_000_000))
    assert check_store(in_store(tmp_path / "transcripts.db")).state == "warning"


# Speakers


def test_speakers_need_a_network_only_if_they_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    finding = check_speakers(config())
    assert (finding.state, "livecaption models install speakers" in finding.text) == ("ok", True)
    finding = check_speakers(config(speakers=True))
    assert (finding.state, "run livecaption models install speakers" in finding.text) == ("fails", True)
    assert check_speakers(config(engine="scripted", speakers=True)).state == "ok"


def test_a_file_that_is_no_network_for_voices_fails(tmp_path: Path) -> None:
    (tmp_path / "voices.onnx").write_bytes(b"no network")
    finding = check_speakers(config(speakers=True, speaker_model=str(tmp_path / "voices.onnx")))
    assert finding.state == "fails"
    assert "voices.onnx is not a network for voices: " in finding.text


@pytest.mark.model
def test_the_installed_network_is_loaded_if_speakers_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    file = installed_network()
    monkeypatch.setenv("XDG_DATA_HOME", str(DATA_HOME))
    assert check_speakers(config()).text == "are distinguished with serve --speakers"
    finding = check_speakers(config(speakers=True))
    assert (finding.state, finding.text) == ("ok", f"can be distinguished by {file}")


# Files that the server reads at its start


def with_certificate(directory: Path, cert: bytes, key: bytes) -> Config:
    cert_file, key_file = written(directory, cert, key)
    return Config(server=ServerConfig(tls_cert=str(cert_file), tls_key=str(key_file)))


def test_a_certificate_is_named_with_the_end_of_its_validity(tmp_path: Path) -> None:
    finding = check_certificate(with_certificate(tmp_path, *Authority().issue("captions.example.org")))
    assert (finding.state, finding.text[:-10]) == ("ok", f"{tmp_path}/cert.pem, valid until ")


def test_a_certificate_that_clients_refuse_is_a_warning(tmp_path: Path) -> None:
    expired = Authority().issue("captions.example.org", begins=timedelta(days=-31))
    finding = check_certificate(with_certificate(tmp_path, *expired))
    assert (finding.state, "expired" in finding.text) == ("warning", True)


def test_a_certificate_that_the_server_cannot_use_fails(tmp_path: Path) -> None:
    finding = check_certificate(with_certificate(tmp_path, b"hello", b"hello"))
    assert finding.state == "fails"
    assert f"--tls-cert: {tmp_path}/cert.pem has no certificate" in finding.text


def test_a_certificate_of_the_server_itself_needs_its_library_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(in_store(tmp_path / "transcripts.db"), server=ServerConfig(tls_self_signed=True))
    finding = check_own_certificate(config)
    assert (finding.state, finding.text) == ("ok", f"the server makes its own, in {tmp_path}")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    finding = check_own_certificate(config)
    assert (finding.state, "pip install 'livecaption-server[tls]'" in finding.text) == ("fails", True)
    assert list(tmp_path.iterdir()) == []


def test_keys_and_sinks_are_counted(tmp_path: Path) -> None:
    keys, sinks = key_file(tmp_path), sink_file(tmp_path)
    finding = check_keys(Config(server=ServerConfig(tokens=keys)))
    assert (finding.state, finding.text) == ("ok", f"{keys}; keys: 1")
    finding = check_sinks(Config(delivery=DeliveryConfig(sinks=sinks)))
    assert (finding.state, finding.text) == ("ok", f"{sinks}; sinks: 1")


def test_files_of_keys_and_sinks_with_something_else_fail_without_their_secrets(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[[other]]\nurl = "s3cret"\n')
    for finding in (
        check_keys(Config(server=ServerConfig(tokens=str(file)))),
        check_sinks(Config(delivery=DeliveryConfig(sinks=str(file)))),
    ):
        assert (finding.state, str(file) in finding.text, "s3cret" in finding.text) == ("fails", True, False)


def key_file(directory: Path) -> str:
    file = directory / "keys.toml"
    file.write_text(as_toml(Key("hall", frozenset({Role.PUBLISH}), hash_of(b"a token of a test"))))
    return str(file)


def sink_file(directory: Path) -> str:
    file = directory / "sinks.toml"
    file.write_text('[[sink]]\nroom = "pycon"\nservice = "zoom"\nurl = "http://127.0.0.1:1/?id=1"\n')
    file.chmod(0o600)
    return str(file)


# The command


@pytest.mark.processes
async def test_doctor_ends_with_0_where_captions_work_and_leaves_no_process(tmp_path: Path) -> None:
    marker = f"LIVECAPTION_TEST_MARKER={uuid.uuid4().hex}"
    variables = {"LIVECAPTION_ENGINE": "scripted", "LIVECAPTION_PORT": "0"} | dict([marker.split("=")])
    cert, key = written(tmp_path, *Authority().issue("localhost"))
    files = ("--tls-cert", cert, "--tls-key", key, "--tokens", key_file(tmp_path), "--sinks", sink_file(tmp_path))
    ended = await livecaption_command("doctor", "--store", "none", *files, **variables)
    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [
        *("model", "device", "cores", "decoder", "microphone", "port", "store", "speakers"),
        *("certificate", "keys", "sinks"),
    ]
    assert lines[-1] == "Captions work here: livecaption serve"
    assert processes_with(marker) == []


@pytest.mark.processes
async def test_doctor_ends_with_1_where_captions_do_not_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        ended = await livecaption_command(
            *("doctor", "--store", "none", "--port", other.getsockname()[1]),
            *("--tls-cert", tmp_path / "no", "--tls-key", tmp_path / "no"),
            *("--tokens", tmp_path / "no", "--sinks", tmp_path / "no"),
            LIVECAPTION_ENGINE="scripted",
        )
    assert (ended.code, ended.stderr) == (1, "")
    failed = [line.split()[1] for line in ended.stdout.splitlines() if line.startswith("fails ")]
    assert failed == ["port", "certificate", "keys", "sinks"]
    assert ended.stdout.endswith("Captions do not work here yet.\n")


@pytest.mark.model
async def test_doctor_loads_the_model() -> None:
    ended = await livecaption_command("doctor", "--port", "0", "--store", "none")
    assert (ended.code, ended.stderr) == (0, "")
    assert "ok       model       tiny.en (English only) loads in " in ended.stdout
