"""`livecaption token` makes keys for `serve --tokens`, and lists those of a file."""

import argparse
import errno
import os
from datetime import UTC, date, datetime
from functools import partial
from io import FileIO
from pathlib import Path

from livecaption.cli.terminal import complain, show_lines
from livecaption.errors import ConfigError
from livecaption.keys import (
    MAX_NAME_CHARACTERS,
    ROLES,
    SIMPLE_NAME,
    Key,
    as_toml,
    hash_of,
    is_name,
    new_token,
    parse,
    roles_of,
)
from livecaption.settings import read_toml, variable

VARIABLE = "LIVECAPTION_TOKENS"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `token` and its actions to the commands."""
    parser = commands.add_parser("token", help="make and list the keys of serve --tokens")
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="make a key",
        description="Make a key, and print its token. It is shown only this once: the file has its hash. With --tokens "
        "or LIVECAPTION_TOKENS the key is added to that file, which a running server reads again within seconds. "
        "Otherwise the lines for the file are printed too.",
        allow_abbrev=False,
    )
    create.set_defaults(parser=create)
    _add_file(create)
    create.add_argument("--name", required=True, help="name for people, logs and metrics, such as 'Hall A'")
    create.add_argument(
        "--role",
        required=True,
        action="append",
        choices=ROLES,
        help="publish: stream, and make rooms; read: transcripts, captions of private sessions, figures; administrate: "
        "everything. It can be given twice",
    )
    create.add_argument("--expires", metavar="DATE", help="last day on which it is valid, in UTC, such as 2027-01-31")
    create.add_argument("--max-streams", metavar="N", type=int, help="streams at a time")
    create.add_argument("--max-minutes-per-day", metavar="N", type=int, help="minutes of audio in a day of UTC")
    listing = actions.add_parser(
        "list",
        help="list the keys of a file",
        description="List the keys of the file, with their roles, limits and last days. Their tokens are not in it.",
        allow_abbrev=False,
    )
    listing.set_defaults(parser=listing)
    _add_file(listing)


async def run(options: argparse.Namespace) -> int:
    """Make or list keys, and return the exit code.

    Raises:
        ConfigError: the file is no file of keys, or the new key does not fit into it.
        OSError: stdout or the file cannot be written.
    """
    path = options.tokens or (variable(VARIABLE, os.environ) or ("",))[0]
    if options.action == "create":
        return _create(options, Path(path) if path else None)
    if not path:
        raise ConfigError(f"which file? --tokens FILE, or {VARIABLE}")
    return show_lines(listed(parse(read_toml(Path(path)), path), datetime.now(UTC)))


def listed(keys: tuple[Key, ...], now: datetime) -> list[str]:
    """Return the keys as lines of a table."""
    rows: list[tuple[str, ...]] = [("NAME", "ROLE", "LAST DAY", "STREAMS", "MINUTES A DAY")]
    for key in keys:
        day = "" if key.expires is None else f"{key.expires}{' (expired)' if key.is_expired(now) else ''}"
        limits = ("" if limit is None else str(limit) for limit in (key.max_streams, key.max_minutes_per_day))
        rows.append((key.name, ", ".join(sorted(role.value for role in key.roles)), day, *limits))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", metavar="FILE", help=f"the file of keys (or {VARIABLE})")


def _create(options: argparse.Namespace, path: Path | None) -> int:
    token = new_token()
    key = Key(
        _name(options.name),
        roles_of(options.role, "--role"),
        hash_of(token.encode()),
        _day(options.expires),
        _limit(options.max_streams, "--max-streams"),
        _limit(options.max_minutes_per_day, "--max-minutes-per-day"),
    )
    if path is None:
        return show_lines([token, "", *as_toml(key).splitlines()])
    section = _addition(key, path)
    # With any umask: another user who can write the file can make keys.
    with open(path, "ab", buffering=0, opener=partial(os.open, mode=0o644)) as file:
        show_lines([token])  # if that fails, the file has no key whose token nobody has
        _append(section, file)
    complain(f"the key {key.name!r} is in {path}; its token is shown only this once")
    return 0


def _addition(key: Key, path: Path) -> bytes:
    """Return what is to be added to the file.

    Raises:
        ConfigError: the file is no file of keys, or has one with this name.
        OSError: it cannot be read.
    """
    section = as_toml(key)
    if path.exists():
        keys = parse(read_toml(path), str(path))
        if any(other.name == key.name for other in keys):
            raise ConfigError(f"{path}: there is a key with the name {key.name!r} already")
        text = path.read_text(encoding="utf-8-sig")
        section = ("" if not text or text.endswith("\n") else "\n") + ("\n" if text else "") + section
    return section.encode()


def _append(content: bytes, file: FileIO) -> None:
    """Add to the file by one write, so that a server never reads half of a key. Its owner and its mode stay.

    Raises:
        OSError: it cannot be written. No part of the content is in the file.
    """
    n_bytes_before = file.tell()
    if file.write(content) < len(content):
        file.truncate(n_bytes_before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def _name(name: str) -> str:
    if not is_name(name):
        raise ConfigError(
            f"--name must have 1 to {MAX_NAME_CHARACTERS} printable characters, and not be {SIMPLE_NAME!r}"
        )
    return name


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise ConfigError("--expires must be a day, such as 2027-01-31") from None


def _limit(value: int | None, flag: str) -> int | None:
    if value is not None and value < 1:
        raise ConfigError(f"{flag} must be a whole number from 1")
    return value
