"""Choose the files that `transcribe` and `export` write, and write each of them completely or not at all."""

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from livecaption.captions.transcript import FORMATS
from livecaption.cli.terminal import printable

Existing = Literal["ask", "skip", "overwrite"]
"""The choices for files that are already there."""


MAX_NAMED = 4
"""Number of files that a question or a refusal names, at most."""

Key = TypeVar("Key", bound=Hashable)


class Refused(Exception):
    """Files are there already, and nobody said what to do about them."""


def formats_argument(names: str) -> list[str]:
    """Return the formats of an argument.

    Raises:
        ArgumentTypeError: there is no such format.
    """
    formats = names.split(",")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise argparse.ArgumentTypeError(f"unknown format {unknown[0]!r}; choose from {', '.join(FORMATS)}")
    return formats


def add_existing_arguments(parser: argparse.ArgumentParser, skip_help: str) -> None:
    """Add the options that decide about files that exist, as `existing`."""
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing", action="store_const", const="skip", dest="existing", default="ask", help=skip_help
    )
    existing.add_argument(
        "--overwrite",
        action="store_const",
        const="overwrite",
        dest="existing",
        help="replace files that exist (default: ask, or refuse where nobody can be asked)",
    )


def targets(stem: str, formats: Sequence[str], directory: Path) -> dict[str, Path]:
    """Return the files of one recording, by format."""
    return {name: directory / f"{stem}.{name}" for name in formats}


def choose(
    files: Mapping[Key, Path], existing: Existing, confirm: Callable[[str], bool] | None
) -> tuple[dict[Key, Path], list[Path]]:
    """Return the files to write, by the same keys, and those that are kept as they are.

    Args:
        files: all files, such as those of one recording by format.
        existing: what happens to those that are already there.
        confirm: asks a person; None: there is nobody to ask.

    Raises:
        Refused: nobody can be asked.
    """
    there = [file for file in files.values() if os.path.lexists(file)]
    if not there or existing == "overwrite":
        return dict(files), []
    if existing == "skip":
        kept = set(there)
        return {name: file for name, file in files.items() if file not in kept}, there
    listed = [*map(str, there[:MAX_NAMED]), *([f"{len(there) - MAX_NAMED} more"] if len(there) > MAX_NAMED else ())]
    names = f"{', '.join(listed)} {'exists' if len(there) == 1 else 'exist'}"
    if confirm is None:
        raise Refused(f"{names}: --overwrite replaces, --skip-existing keeps")
    return (dict(files), []) if confirm(f"{names}. Overwrite?") else ({}, there)


def person() -> Callable[[str], bool] | None:
    """Return the function that asks the person at the terminal; None if there is no person."""
    streams = (sys.stdin, sys.stderr)
    return _confirm if all(stream is not None and stream.isatty() for stream in streams) else None


def _confirm(question: str) -> bool:
    # The handler of asyncio would only note Ctrl+C, and the question would remain.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, handler)


def make_directory(directory: Path, mode: int = 0o777) -> None:
    """Make the directory for files, with this mode, and check that files can be made in it.

    Raises:
        OSError: they cannot.
    """
    try:
        directory.mkdir(mode, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError("it is not a directory") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError("no permission to write there")


def write(path: Path, text: str, mode: int = 0o666) -> None:
    """Write all of a file or nothing: under another name first, which is then changed.

    The file gets this mode, without what the umask of the process forbids.

    Raises:
        OSError: it cannot be written. Nothing is left, and a file that was there is unchanged.
    """
    if path.exists() and not path.is_file():  # a device or a pipe, which would be replaced
        raise FileExistsError("it is not a regular file")
    path = Path(os.path.realpath(path))  # a link stays a link
    unfinished = path.with_name(f".livecaption-{secrets.token_hex(6)}")
    try:
        with open(unfinished, "x", encoding="utf-8", opener=partial(os.open, mode=mode)) as file:
            file.write(text)
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
