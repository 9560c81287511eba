"""`livecaption backup` copies the store of transcripts to a file, while a server uses it."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from livecaption.cli import serve
from livecaption.cli.terminal import counted, note
from livecaption.config import add_config_arguments, load_config
from livecaption.errors import ConfigError
from livecaption.store.config import NO_HOME, NOWHERE, StoreConfig


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `backup` and its options to the commands."""
    parser = commands.add_parser(
        "backup",
        help="copy the store of transcripts to a file",
        description="Copy the store of transcripts to a file, and check the copy. A server may use it meanwhile.",
        epilog="Example: livecaption backup /var/backups/livecaption.db --overwrite",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="the backup; only its owner can read it")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    add_config_arguments(parser, serve.defaults(), only=("store",))


async def run(options: argparse.Namespace) -> int:
    """Back up, and return the exit code.

    Raises:
        StoreFailed: the store cannot be copied.
    """
    from livecaption.store.backup import back_up

    store = store_of(options)
    if store.is_postgresql:
        raise ConfigError(
            f"{store.place} is backed up by pg_dump of PostgreSQL: pg_dump --format custom --file FILE ADDRESS; "
            "pg_restore brings it back"
        )
    contents = back_up(Path(store.path), options.file, overwrite=options.overwrite)
    sessions, finals = counted(contents.n_sessions, "session"), counted(contents.n_finals, "final")
    note(f"{options.file} has {sessions} with {finals}")
    return 0


def store_of(options: argparse.Namespace) -> StoreConfig:
    """Return the settings of the store that `serve` would use. The path of a file has no `~`.

    Raises:
        ConfigError: there is none.
    """
    store = load_config(options, os.environ, serve.defaults()).store
    if store.path == NOWHERE:
        raise ConfigError(f"with --store {NOWHERE} there are no transcripts; --store FILE names a store")
    if store.is_postgresql:
        return store
    try:
        return replace(store, path=str(Path(store.path).expanduser()))
    except RuntimeError:
        raise ConfigError(f"{NO_HOME}, or --store to a file") from None
