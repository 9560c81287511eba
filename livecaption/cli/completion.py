"""The parser with a mark at each argument that is a file. shtab makes completions of shells from it.

shtab --shell bash --prog livecaption livecaption.cli.completion.parser

The script is made once. argcomplete was rejected, because it starts Python each time that Tab is pressed.
"""

import argparse

import shtab

from livecaption.cli import build_parser


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, as shtab reads it."""
    whole = build_parser()
    _mark_files(whole)
    return whole


def _mark_files(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_files(command)
        elif action.metavar in ("FILE", "DIRECTORY"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
