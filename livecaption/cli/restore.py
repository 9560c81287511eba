"""`livecaption restore` adds the sessions of a backup that the store does not have, while a server uses it."""

import argparse
import asyncio
import time
from pathlib import Path

from livecaption.cli import serve
from livecaption.cli.backup import store_of
from livecaption.cli.terminal import counted, note
from livecaption.config import add_config_arguments


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `restore` and its options to the commands."""
    parser = commands.add_parser(
        "restore",
        help="add the sessions of a backup to the store of transcripts",
        description="Add the sessions and rooms of a backup that the store of transcripts does not have. Nothing is "
        "replaced. A server may use the store meanwhile. If there is no store, it is made.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="a backup, or another store")
    add_config_arguments(parser, serve.defaults(), only=("store",))


async def run(options: argparse.Namespace) -> int:
    """Restore, and return the exit code.

    Raises:
        StoreFailed: the backup cannot be read, or the store not be written.
        StoreUnusable: the store cannot be made.
    """
    from livecaption.store.backup import ShorterSession, restore

    path, store = store_of(options)
    n_restored = n_old = n_shorter = 0
    oldest_ms = time.time() * 1000 - store.keep_days * 86_400_000
    for restored in restore(options.file, path):
        if isinstance(restored, ShorterSession):
            n_shorter += 1
            continue
        n_restored += 1
        n_old += restored.ended_at_ms < oldest_ms
        await asyncio.sleep(restored.rest_s)
    note(f"restored {counted(n_restored, 'session')} into {path}")
    if n_old and store.keep_days:
        note(f"{n_old} of them ended more than {store.keep_days:g} days ago, and a server deletes them (--keep-days)")
    if n_shorter:
        note(f"kept {counted(n_shorter, 'session')} with fewer captions than the backup: delete and restore again")
    return 0
