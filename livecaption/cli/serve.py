"""`livecaption serve` runs the server until Ctrl+C or SIGTERM."""

import argparse
import os
from typing import TYPE_CHECKING

from livecaption.config import Config, add_config_arguments, load_config
from livecaption.store.config import KEEP_DAYS, StoreConfig, default_path

if TYPE_CHECKING:
    from livecaption.server.signals import SignalInbox


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `serve` and its options to the commands."""
    parser = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until Ctrl+C or SIGTERM. Each option can also be set in the environment "
        "(LIVECAPTION_PORT) or in a TOML file.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    add_config_arguments(parser, defaults())


def run(options: argparse.Namespace, signals: "SignalInbox") -> int:
    """Run the server, and return the exit code."""
    from livecaption.server import lifecycle

    return lifecycle.run(load_config(options, os.environ, defaults()), signals)


def defaults() -> Config:
    """Return the default settings. Only this command stores transcripts by default, and for a month."""
    return Config(store=StoreConfig(default_path(), KEEP_DAYS))
