"""Merge flags, environment, TOML file and defaults into one frozen `Config`.

Each stage defines its own frozen dataclass beside its code. This module composes them, and has the only table of the
options that a user may set. The first source with a value wins: flag, environment variable (`LIVECAPTION_PORT`), TOML
file (`[server] port = 8000`), default.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from livecaption.captions.language_names import NAMES
from livecaption.delivery.config import DeliveryConfig
from livecaption.errors import ConfigError
from livecaption.ipc.config import EngineConfig, LogConfig
from livecaption.live.config import LiveConfig
from livecaption.scheduling.config import AdmissionConfig
from livecaption.scheduling.partial_timer import PartialsConfig
from livecaption.server.config import ServerConfig, is_loopback, is_on_this_machine
from livecaption.settings import AUTO, convert, read_toml, text_of, variable
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.store.config import StoreConfig
from livecaption.workers.config import WorkerConfig

__all__ = [
    "DEFAULTS",
    "GROUPS",
    "OPTIONS",
    "ROOM_SECRET",
    "VARIABLES",
    "Config",
    "EndpointingConfig",
    "EngineConfig",
    "LogConfig",
    "Option",
    "PartialsConfig",
    "ServerConfig",
    "StoreConfig",
    "WorkerConfig",
    "add_config_arguments",
    "check_access",
    "is_loopback",
    "is_on_this_machine",
    "load_config",
    "load_with_sources",
    "value_of",
]

ROOM_SECRET = "LIVECAPTION_ROOM_SECRET"
"""The variable with the secret of a room, which only `listen` reads."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of the server; `OPTIONS` has those that a user may set."""

    server: ServerConfig = field(default_factory=ServerConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    endpointing: EndpointingConfig = field(default_factory=EndpointingConfig)
    partials: PartialsConfig = field(default_factory=PartialsConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    log: LogConfig = field(default_factory=LogConfig)


DEFAULTS = Config()


@dataclass(frozen=True)
class Option:
    """One option that a user may set: `--flag`, `LIVECAPTION_FLAG`, and `key` of a TOML `section`.

    A secret is never shown. Its value may be in a file that `LIVECAPTION_FLAG_FILE` names.
    """

    flag: str
    section: str
    key: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    secret: bool = False

    @property
    def variable(self) -> str:
        return "LIVECAPTION_" + self.flag.upper().replace("-", "_")

    @cached_property
    def type(self) -> Any:
        return get_type_hints(get_type_hints(Config)[self.section])[self.key]


GROUPS: dict[str, tuple[Option, ...]] = {
    "address": (
        Option("host", "server", "host", "address to listen on, or unix:PATH for a Unix socket", "ADDRESS"),
        Option("port", "server", "port", "port to listen on; 0 picks a free one", "PORT"),
        Option("wyoming-port", "server", "wyoming_port", "port for Wyoming (Home Assistant); 0: none", "PORT"),
        Option("wyoming-endpointing", "server", "wyoming_endpointing", "end commands of Wyoming at the first pause"),
        Option("vosk-port", "server", "vosk_port", "port for clients of vosk-server; 0: none", "PORT"),
        Option("whisperlive-port", "server", "whisperlive_port", "port for clients of WhisperLive; 0: none", "PORT"),
        Option("public-url", "server", "public_url", "address of the page that links and QR codes lead to", "URL"),
        Option("trusted-proxy", "server", "trusted_proxies", "network of proxies whose X-Forwarded-* count", "NETWORK"),
    ),
    "access": (
        Option(
            "token",
            "server",
            "token",
            "secret that clients must show (better in LIVECAPTION_TOKEN)",
            "TOKEN",
            secret=True,
        ),
        Option(
            "tokens", "server", "tokens", "TOML file of keys with roles and limits (livecaption token create)", "FILE"
        ),
        Option("allowed-origin", "server", "allowed_origins", "web origin whose pages may use the API", "ORIGIN"),
        Option("allowed-frame", "server", "allowed_frames", "web origin that may embed the readers' page", "ORIGIN"),
        Option(
            "protocols",
            "server",
            "protocols",
            "protocols that clients may speak; by default all on this machine, and only native beyond it",
            "NAMES",
        ),
        Option("allowed-host", "server", "allowed_hosts", "another name under which browsers reach the server", "NAME"),
        Option(
            "insecure",
            "server",
            "insecure",
            "accept other machines without a token: anyone who reaches the server may stream and see figures; "
            "transcripts are listed and deleted from this machine only, and private sessions need their reader token",
        ),
    ),
    "TLS": (
        Option("tls-cert", "server", "tls_cert", "certificate chain (PEM); serves https and wss", "FILE"),
        Option("tls-key", "server", "tls_key", "private key (PEM)", "FILE"),
        Option("tls-self-signed", "server", "tls_self_signed", "serve https with a certificate that the server makes"),
    ),
    "limits": (
        Option("processes", "server", "processes", "server processes that share the port, the store and the load", "N"),
        Option(
            "max-streams",
            "server",
            "max_streams",
            "streams at a time, or auto (from measurements); more are refused with 503",
            "N",
        ),
        Option("max-readers", "server", "max_readers", "readers at a time; more are refused with 503", "N"),
        Option("max-upload", "server", "max_upload_mb", "size of a recording that is uploaded, at most", "MB"),
        Option("drain-timeout", "server", "drain_timeout_s", "time that a stop waits for the last captions", "SECONDS"),
        Option(
            "resume-window",
            "server",
            "resume_window_s",
            "time that a session waits for a publisher whose connection is lost; 0: it does not wait",
            "SECONDS",
        ),
    ),
    "transcripts": (
        Option("store", "store", "path", "database that keeps transcripts, or none", "FILE"),
        Option("keep-days", "store", "keep_days", "delete transcripts this long after their end; 0: keep all", "DAYS"),
    ),
    "delivery": (
        Option(
            "sinks", "delivery", "sinks", "TOML file of services that get the captions of rooms, such as Zoom", "FILE"
        ),
    ),
    "log": (
        Option(
            "log-level", "log", "level", "lowest level that is logged", choices=("debug", "info", "warning", "error")
        ),
        Option("log-format", "log", "format", "text, or json: one object for each line", choices=("text", "json")),
        Option("access-log", "log", "access", "log a line for each request and each WebSocket"),
    ),
    "model": (
        Option("engine", "engine", "engine", "engine that transcribes", choices=("whisper", "scripted")),
        Option(
            "model",
            "engine",
            "model",
            "directory, installed model package, or hub name such as small or small@REVISION",
            "MODEL",
        ),
        Option(
            "device", "engine", "device", "auto, cpu, cuda[:INDEX|:all] or ray[:SHARE]; several with commas", "DEVICE"
        ),
        Option("compute-type", "engine", "compute_type", "auto, int8, float16, float32, ...", "TYPE"),
        Option("threads", "engine", "threads", "threads that compute on the CPU; 0: one per core", "N"),
        Option("translate", "engine", "tracks", "languages into which captions can be translated", "CODES"),
        Option(
            "translation-model",
            "engine",
            "translation_model",
            "CTranslate2 directory of a translation model, such as NLLB; without it Whisper translates into en",
            "DIRECTORY",
        ),
        Option("speakers", "engine", "speakers", "let publishers have their speakers distinguished by their voices"),
        Option("speaker-model", "engine", "speaker_model", "ONNX file of another network for voices", "FILE"),
        Option("full-context", "engine", "full_context", "encode every utterance as 30 s (slower)"),
    ),
    "inference processes": (
        Option(
            "workers", "workers", "per_device", "inference processes on each device; 0: two on CPUs, one on a GPU", "N"
        ),
        Option("load-timeout", "workers", "load_timeout_s", "give up on a model that takes longer to load", "SECONDS"),
        Option("kill-stale", "workers", "kill_stale", "end processes that an earlier server left on the device"),
    ),
    "captions": (
        Option(
            "silence",
            "endpointing",
            "hangover_ms",
            "silence that ends an utterance; within a phrase 700 ms, if that is more",
            "MS",
        ),
        Option("max-utterance", "endpointing", "max_utterance_ms", "longer speech is cut at a quiet point", "MS"),
        Option("partial-interval", "partials", "interval_ms", "new audio between two partial captions", "MS"),
    ),
}
"""The options in groups, as `--help` shows them. A new option is a line here, and a row in docs/operating.md."""

OPTIONS: tuple[Option, ...] = tuple(option for group in GROUPS.values() for option in group)

SECRETS = tuple(option for option in OPTIONS if option.secret)

VARIABLES = (
    "LIVECAPTION_CONFIG",
    ROOM_SECRET,
    *(option.variable for option in OPTIONS),
    *(f"{option.variable}_FILE" for option in SECRETS),
)
"""All variables of the environment that are settings."""


def add_config_arguments(
    parser: argparse.ArgumentParser, defaults: Config = DEFAULTS, only: Sequence[str] | None = None
) -> None:
    """Add a flag for every option, or for those that `only` names, and `--config FILE`.

    Flags that are not given stay None.
    """
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (or LIVECAPTION_CONFIG)")
    for title, options in GROUPS.items():
        if chosen := [option for option in options if only is None or option.flag in only]:
            group = parser.add_argument_group(title)
            for option in chosen:
                _add_argument(group, option, value_of(defaults, option))


def _add_argument(group: "argparse._ArgumentGroup", option: Option, default: Any) -> None:
    default = AUTO if default is None else default
    suffix = f" (default: {default})".replace("%", "%%") if default not in ("", (), False) else ""
    keywords: dict[str, Any] = {"dest": option.flag, "help": option.help + suffix, "default": None}
    if option.type is bool:
        group.add_argument(f"--{option.flag}", action="store_true", **keywords)
    elif get_origin(option.type) is tuple:
        group.add_argument(f"--{option.flag}", action="append", metavar=option.metavar, **keywords)
    else:
        keywords |= {"metavar": option.metavar} if option.metavar else {}
        group.add_argument(f"--{option.flag}", choices=option.choices, **keywords)


def value_of(config: Config, option: Option) -> Any:
    """Return the value of one option."""
    return getattr(getattr(config, option.section), option.key)


def load_config(arguments: argparse.Namespace, environ: Mapping[str, str], defaults: Config = DEFAULTS) -> Config:
    """Merge the four sources.

    Raises:
        ConfigError: a value has the wrong type or is out of range, a key is unknown, the file is unreadable, or
            settings contradict each other. The message names the setting.
    """
    return load_with_sources(arguments, environ, defaults)[0]


def load_with_sources(
    arguments: argparse.Namespace, environ: Mapping[str, str], defaults: Config = DEFAULTS
) -> tuple[Config, dict[Option, str]]:
    """Merge the four sources. Return the settings, and the source of each that has no default value.

    Raises:
        ConfigError: see `load_config`.
    """
    path = getattr(arguments, "config", None) or text_of("LIVECAPTION_CONFIG", environ)
    file = _read_file(Path(path)) if path else {}
    chosen: dict[str, dict[str, Any]] = {}
    sources: dict[Option, str] = {}
    for option in OPTIONS:
        given = getattr(arguments, option.flag, None)
        if given is not None:
            source = f"--{option.flag}"
        elif found := variable(option.variable, environ, secret=option.secret):
            given, source = found
        elif option.key in file.get(option.section, {}):
            given, source = file[option.section][option.key], f"{path}: {option.section}.{option.key}"
        else:
            continue
        chosen.setdefault(option.section, {})[option.key] = convert(given, option.type, source, option.choices)
        sources[option] = source
    try:
        changes = {name: replace(getattr(defaults, name), **values) for name, values in chosen.items()}
    except ConfigError as error:
        raise ConfigError(_with_flags(str(error))) from None
    config = replace(defaults, **changes)
    _check(config)
    return config, sources


def _with_flags(message: str) -> str:
    """Replace the names of fields in a stage's message by the flags of their options.

    What stands behind a colon is a reason in plain words, and some of them are names of fields too, such as `path`.
    """
    fields, colon, reason = message.partition(": ")
    for option in OPTIONS:
        fields = re.sub(rf"\b({option.section}\.)?{option.key}\b", f"--{option.flag}", fields)
    return fields + colon + reason


def _read_file(path: Path) -> dict[str, dict[str, Any]]:
    parsed = read_toml(path)
    known = {
        section: {option.key for option in OPTIONS if option.section == section}
        for section in dict.fromkeys(option.section for option in OPTIONS)
    }
    for section, values in parsed.items():
        if section not in known or not isinstance(values, dict):
            raise ConfigError(f"{path}: unknown section [{section}]; known are {', '.join(known)}")
        for key in values:
            if key not in known[section]:
                raise ConfigError(f"{path}: unknown key {section}.{key}; known are {', '.join(sorted(known[section]))}")
    return parsed


def _check(config: Config) -> None:
    """Check bounds and combinations that no single stage can check."""
    server = config.server
    if not 0 <= server.port <= 65535:
        raise ConfigError("--port must be from 0 to 65535")
    if server.max_streams is not None and server.max_streams < server.processes:
        raise ConfigError("--max-streams must be at least 1" + (", for each process" if server.processes > 1 else ""))
    if server.max_upload_mb < 1:
        raise ConfigError("--max-upload must be at least 1")
    workers, threads = config.workers.per_device, config.engine.threads
    for flag, number in {"max-readers": server.max_readers, "workers": workers, "threads": threads}.items():
        if number < 0:
            raise ConfigError(f"--{flag} must be 0 or more")
    if not 0 <= server.drain_timeout_s <= 600:
        raise ConfigError("--drain-timeout must be from 0 to 600 seconds")
    if not 0 <= server.resume_window_s <= 3600:
        raise ConfigError("--resume-window must be from 0 to 3600 seconds")
    if not 0 < config.workers.load_timeout_s <= 86_400:
        raise ConfigError("--load-timeout must be more than 0 seconds and at most a day")
    _check_translation(config.engine)
    if config.engine.speaker_model and not config.engine.speakers:
        raise ConfigError("--speaker-model needs --speakers")
    if bool(server.tls_cert) != bool(server.tls_key):
        raise ConfigError("--tls-cert and --tls-key go together")
    if server.tls_cert and server.tls_self_signed:
        raise ConfigError("--tls-cert and --tls-self-signed exclude each other")
    check_access(server, f"--host {server.host}")


def check_access(server: ServerConfig, where: str) -> None:
    """Check that other machines need a token, or that the operator has decided otherwise.

    Args:
        server: the settings.
        where: what decides who reaches the server, for the message.

    Raises:
        ConfigError: everybody could stream.
    """
    if not is_on_this_machine(server.host) and not server.needs_key and not server.insecure:
        raise ConfigError(
            f"{where} accepts other machines: set LIVECAPTION_TOKEN to a secret, "
            "or use --tokens, or --insecure if everybody who reaches this machine may stream"
        )


def _check_translation(engine: EngineConfig) -> None:
    """Check what can be known before the models are loaded."""
    unknown = [code for code in engine.tracks if code not in NAMES]
    if unknown:
        raise ConfigError(f"--translate takes codes of languages, such as en,de: not {', '.join(unknown)}")
    if engine.translation_model and not engine.tracks:
        raise ConfigError("--translation-model needs --translate with the languages")
    if engine.engine == "whisper" and not engine.translation_model and set(engine.tracks) - {"en"}:
        raise ConfigError("--translate: Whisper translates into en only; other languages need --translation-model")
