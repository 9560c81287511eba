"""Read settings from the environment and from files, and convert them to the types of their fields.

`config` has the table of options and decides which source wins. Here are the rules of each source:

    flag           as it is; a shell has removed quotes
    environment    without spaces and one pair of quotes around it. `docker run --env-file` keeps both, and the
                   carriage returns of files from Windows. An empty variable is not set, because files for Compose and
                   systemd leave some empty
    secret file    the variable with `_FILE` names it; the same rules
    TOML           as it is; the file may begin with a byte-order mark
"""

import difflib
import json
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from livecaption.errors import ConfigError

AUTO = "auto"
"""A user's word for None, in settings that may be None."""
PREFIX = "LIVECAPTION_"
TEST_PREFIX = "LIVECAPTION_TEST_"
"""The first letters of variables for tests of livecaption, which are no settings."""
BYTE_ORDER_MARK = "\ufeff"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
MAX_SECRET_BYTES = 64 * 1024
"""Size of a file of one secret. A larger one is another file, such as a disk image that was named by mistake."""


def unquoted(text: str) -> str:
    """Return the value of a variable without spaces, line ends and one pair of quotes around it."""
    text = text.strip(BYTE_ORDER_MARK).strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text


def variable(name: str, environ: Mapping[str, str], *, secret: bool = False) -> tuple[str, str] | None:
    """Return the value of a variable and the name of its source, or None if it is empty or not set.

    Args:
        name: the variable.
        environ: all variables.
        secret: whether the value may be in a file that the variable `NAME_FILE` names.

    Raises:
        ConfigError: both variables are set, or the file is empty or cannot be read.
    """
    given, in_file = text_of(name, environ), f"{name}_FILE"
    path = text_of(in_file, environ) if secret else ""
    if not path:
        return (given, name) if given else None
    if given:
        raise ConfigError(f"{name} and {in_file} are both set; remove one of them")
    return _secret(path, in_file), in_file


def text_of(name: str, environ: Mapping[str, str]) -> str:
    """Return the value of a variable; empty: it is empty or not set."""
    return unquoted(environ.get(name, ""))


def _secret(path: str, source: str) -> str:
    """Read a secret. No message has the path, because it is the secret itself if the wrong variable was set."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path of a file"
        raise ConfigError(f"{source}: the file cannot be read: {reason}") from None
    secret = unquoted(_text(content, f"{source}: the file"))
    if not secret or len(content) > MAX_SECRET_BYTES:
        raise ConfigError(f"{source}: the file must have one secret, and nothing else")
    return secret


def unknown_variables(environ: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the names that look like settings and are none, each with the nearest name that is one."""
    names = sorted(known)
    found = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in names and not name.startswith(TEST_PREFIX):
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
            found.append(f"{name} ({nearest[0]}?)" if nearest else name)
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file in UTF-8, with or without a byte-order mark.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(_text(path.read_bytes(), str(path)))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: too many brackets within each other") from None


def _text(content: bytes, source: str) -> str:
    if content.startswith(UTF_16):
        raise ConfigError(f"{source} is in UTF-16: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not in UTF-8") from None


def as_toml(value: Any) -> str:
    """Return a setting as TOML. A string of JSON is one of TOML too, because settings have no control characters."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(AUTO if value is None else value, ensure_ascii=False)


def convert(value: Any, kind: Any, source: str, choices: tuple[str, ...] | None = None) -> Any:
    """Convert a string, or a value of TOML, to the type of a field.

    Args:
        value: the setting as it was given.
        kind: the type: str, int, float, bool, a tuple of strings, or one of the first three or None.
        source: the name of the setting where it was given, for messages.
        choices: all values that are possible.

    Raises:
        ConfigError: that is impossible.
    """
    optional = get_origin(kind) is UnionType
    if optional:
        if value == AUTO:
            return None
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ConfigError(f"{source} must be a list of strings")
        parts = [part.strip() for item in items for part in item.split(",")]
        return tuple(_printable(part, source) for part in parts if part)
    if kind is bool:
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if not isinstance(value, bool) and str(value).lower() not in words:
            raise ConfigError(f"{source} must be true or false")
        return value if isinstance(value, bool) else words[str(value).lower()]
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise ConfigError(f"{source} must be a {'string' if kind is str else 'number'}")
    try:
        converted = kind(value)
        if kind is int and isinstance(value, float) and converted != value:
            raise ValueError(value)
    except (OverflowError, TypeError, ValueError):
        number = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{source} must be {f'{AUTO} or ' if optional else ''}{number}") from None
    if choices and converted not in choices:
        raise ConfigError(f"{source} must be one of {', '.join(choices)}")
    return _printable(converted, source) if kind is str else converted


def _printable(text: str, source: str) -> str:
    """Return the text, unless it has characters that no name, address or secret has. The message does not show it."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ConfigError(f"{source} contains a line break or another control character")
    return text
