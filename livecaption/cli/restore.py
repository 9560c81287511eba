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
        "replaced. Servers may use the store meanwhile. If there is no store, it is made. The sessions of a file can "
        "also be added to a database (--store postgresql://...).",
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
        ConfigError: a library is missing.
    """
    from livecaption.store.archive import restored_into
    from livecaption.store.backup import ShorterSession

    store = store_of(options)
    n_restored = n_old = n_shorter = 0
    oldest_ms = time.time() * 1000 - store.keep_days * 86_400_000
    async for restored in restored_into(store, options.file):
        if isinstance(restored, ShorterSession):
            n_shorter += 1
            continue
        n_restored += 1
        n_old += restored.ended_at_ms < oldest_ms
        await asyncio.sleep(restored.rest_s)
    note(f"restored {counted(n_restored, 'session')} into {store.place}")
    if n_old and store.keep_days:
        note(f"{n_old} of them ended more than {store.keep_days:g} days ago, and a server deletes them (--keep-days)")
    if n_shorter:
        note(f"kept {counted(n_shorter, 'session')} with fewer captions than the backup: delete and restore again")
    return 0
