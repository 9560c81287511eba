"""Merge flags, environment, TOML file and defaults into one frozen `Config`.

Each stage defines its own frozen dataclass beside its code. This module composes them, and has the only table of the
options that a user may set. The first source with a value wins: flag, environment variable (`LIVECAPTION_PORT`), TOML
file (`[server] port = 8000`), default.
"""

import argparse
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from livecaption.captions.language_names import NAMES
from livecaption.errors import ConfigError
from livecaption.ipc.config import EngineConfig
from livecaption.live.config import LiveConfig
from livecaption.scheduling.config import AdmissionConfig
from livecaption.scheduling.partial_timer import PartialsConfig
from livecaption.server.config import ServerConfig
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.store.config import StoreConfig
from livecaption.workers.config import WorkerConfig

__all__ = [
    "DEFAULTS",
    "OPTIONS",
    "Config",
    "EndpointingConfig",
    "EngineConfig",
    "Option",
    "PartialsConfig",
    "ServerConfig",
    "StoreConfig",
    "WorkerConfig",
    "add_config_arguments",
    "is_loopback",
    "load_config",
]

AUTO = "auto"
"""A user's word for None, in settings that may be None."""


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


DEFAULTS = Config()


@dataclass(frozen=True, slots=True)
class Option:
    """One option that a user may set: `--flag`, `LIVECAPTION_FLAG`, and `key` of a TOML `section`."""

    flag: str
    section: str
    key: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None

    @property
    def variable(self) -> str:
        return "LIVECAPTION_" + self.flag.upper().replace("-", "_")

    @property
    def type(self) -> Any:
        return get_type_hints(get_type_hints(Config)[self.section])[self.key]


OPTIONS: tuple[Option, ...] = (
    Option("host", "server", "host", "address to listen on", "ADDRESS"),
    Option("port", "server", "port", "port to listen on; 0 picks a free one", "PORT"),
    Option("token", "server", "token", "secret that clients must show (better in LIVECAPTION_TOKEN)", "TOKEN"),
    Option("allowed-origin", "server", "allowed_origins", "another web origin whose pages may stream", "ORIGIN"),
    Option("allowed-host", "server", "allowed_hosts", "another name under which browsers reach the server", "NAME"),
    Option("public-url", "server", "public_url", "address of the page that links and QR codes lead to", "URL"),
    Option("tls-cert", "server", "tls_cert", "certificate chain (PEM); serves https and wss", "FILE"),
    Option("tls-key", "server", "tls_key", "private key (PEM)", "FILE"),
    Option("tls-self-signed", "server", "tls_self_signed", "serve https with a certificate that the server makes"),
    Option(
        "max-streams",
        "server",
        "max_streams",
        "streams at a time, or auto (from measurements); more are refused with 503",
        "N",
    ),
    Option("max-readers", "server", "max_readers", "readers at a time; more are refused with 503", "N"),
    Option("drain-timeout", "server", "drain_timeout_s", "time that a stop waits for the last captions", "SECONDS"),
    Option(
        "resume-window",
        "server",
        "resume_window_s",
        "time that a session waits for a publisher whose connection is lost; 0: it does not wait",
        "SECONDS",
    ),
    Option(
        "insecure",
        "server",
        "insecure",
        "accept other machines without a token: anyone who reaches the server may stream and see figures; transcripts "
        "are listed and deleted from this machine only, and private sessions need their reader token",
    ),
    Option("store", "store", "path", "database that keeps transcripts, or none", "FILE"),
    Option("keep-days", "store", "keep_days", "delete transcripts this long after their end; 0: keep all", "DAYS"),
    Option("engine", "engine", "engine", "engine that transcribes", choices=("whisper", "scripted")),
    Option(
        "model",
        "engine",
        "model",
        "directory, installed model package, or hub name such as small or small@REVISION",
        "MODEL",
    ),
    Option("device", "engine", "device", "auto, cpu, cuda or cuda:INDEX; several with commas", "DEVICE"),
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
    Option("full-context", "engine", "full_context", "encode every utterance as 30 s (slower)"),
    Option("workers", "workers", "per_device", "inference processes on each device; 0: two on CPUs, one on a GPU", "N"),
    Option("load-timeout", "workers", "load_timeout_s", "give up on a model that takes longer to load", "SECONDS"),
    Option("kill-stale", "workers", "kill_stale", "end processes that an earlier server left on the device"),
    Option(
        "silence",
        "endpointing",
        "hangover_ms",
        "silence that ends an utterance; within a phrase 700 ms, if that is more",
        "MS",
    ),
    Option("max-utterance", "endpointing", "max_utterance_ms", "longer speech is cut at a quiet point", "MS"),
    Option("partial-interval", "partials", "interval_ms", "new audio between two partial captions", "MS"),
)


def add_config_arguments(parser: argparse.ArgumentParser, defaults: Config = DEFAULTS) -> None:
    """Add a flag for every option, and `--config FILE`. Flags that are not given stay None."""
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (or LIVECAPTION_CONFIG)")
    for option in OPTIONS:
        default = getattr(getattr(defaults, option.section), option.key)
        default = AUTO if default is None else default
        suffix = f" (default: {default})".replace("%", "%%") if default not in ("", (), False) else ""
        keywords: dict[str, Any] = {"dest": option.flag, "help": option.help + suffix, "default": None}
        if option.type is bool:
            parser.add_argument(f"--{option.flag}", action="store_true", **keywords)
        elif get_origin(option.type) is tuple:
            parser.add_argument(f"--{option.flag}", action="append", metavar=option.metavar, **keywords)
        else:
            keywords |= {"metavar": option.metavar} if option.metavar else {}
            parser.add_argument(f"--{option.flag}", choices=option.choices, **keywords)


def load_config(arguments: argparse.Namespace, environ: Mapping[str, str], defaults: Config = DEFAULTS) -> Config:
    """Merge the four sources.

    Raises:
        ConfigError: a value has the wrong type or is out of range, a key is unknown, the file is unreadable, or
            settings contradict each other. The message names the setting.
    """
    path = getattr(arguments, "config", None) or environ.get("LIVECAPTION_CONFIG")
    file = _read_file(Path(path)) if path else {}
    chosen: dict[str, dict[str, Any]] = {}
    for option in OPTIONS:
        given = getattr(arguments, option.flag, None)
        if given is not None:
            value = _convert(given, option, f"--{option.flag}")
        elif option.variable in environ:
            value = _convert(environ[option.variable], option, option.variable)
        elif option.key in file.get(option.section, {}):
            value = _convert(file[option.section][option.key], option, f"{path}: {option.section}.{option.key}")
        else:
            continue
        chosen.setdefault(option.section, {})[option.key] = value
    try:
        changes = {name: replace(getattr(defaults, name), **values) for name, values in chosen.items()}
    except ConfigError as error:
        raise ConfigError(_with_flags(str(error))) from None
    config = replace(defaults, **changes)
    _check(config)
    return config


def _with_flags(message: str) -> str:
    """Replace the names of fields in a stage's message by the flags of their options."""
    for option in OPTIONS:
        message = re.sub(rf"\b({option.section}\.)?{option.key}\b", f"--{option.flag}", message)
    return message


def _read_file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        parsed = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
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


def _convert(value: Any, option: Option, source: str) -> Any:
    """Convert a string, or a value of TOML, to the type of the field."""
    kind = option.type
    if get_origin(kind) is UnionType:
        if value == AUTO:
            return None
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ConfigError(f"{source} must be a list of strings")
        return tuple(part.strip() for item in items for part in item.split(",") if part.strip())
    if kind is bool:
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if not isinstance(value, bool) and str(value).lower() not in words:
            raise ConfigError(f"{source} must be true or false")
        return value if isinstance(value, bool) else words[str(value).lower()]
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise ConfigError(f"{source} must be a {'string' if kind is str else 'number'}")
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        number = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{source} must be {f'{AUTO} or ' if kind != option.type else ''}{number}") from None
    if option.choices and converted not in option.choices:
        raise ConfigError(f"{source} must be one of {', '.join(option.choices)}")
    return converted


def _check(config: Config) -> None:
    """Check bounds and combinations that no single stage can check."""
    server = config.server
    if not 0 <= server.port <= 65535:
        raise ConfigError("--port must be from 0 to 65535")
    if server.max_streams is not None and server.max_streams < 1:
        raise ConfigError("--max-streams must be at least 1")
    if server.max_readers < 0:
        raise ConfigError("--max-readers must be 0 or more")
    if not 0 <= server.drain_timeout_s <= 600:
        raise ConfigError("--drain-timeout must be from 0 to 600 seconds")
    if not 0 <= server.resume_window_s <= 3600:
        raise ConfigError("--resume-window must be from 0 to 3600 seconds")
    if not 0 < config.workers.load_timeout_s <= 86_400:
        raise ConfigError("--load-timeout must be more than 0 seconds and at most a day")
    if config.workers.per_device < 0:
        raise ConfigError("--workers must be 0 or more")
    if config.engine.threads < 0:
        raise ConfigError("--threads must be 0 or more")
    _check_translation(config.engine)
    if bool(server.tls_cert) != bool(server.tls_key):
        raise ConfigError("--tls-cert and --tls-key go together")
    if server.tls_cert and server.tls_self_signed:
        raise ConfigError("--tls-cert and --tls-self-signed exclude each other")
    if not is_loopback(server.host) and not server.token and not server.insecure:
        raise ConfigError(
            f"--host {server.host} accepts other machines: set LIVECAPTION_TOKEN to a secret, "
            "or use --insecure if everybody who reaches this machine may stream"
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


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach itself by `host`. `127.evil.example` is not such a name."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
