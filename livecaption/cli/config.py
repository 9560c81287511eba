"""`livecaption config` shows the settings that `serve` would have, and an example of a file."""

import argparse
import os

from livecaption.cli import serve
from livecaption.cli.terminal import complain, show_lines
from livecaption.config import OPTIONS, VARIABLES, Config, Option, add_config_arguments, load_with_sources, value_of
from livecaption.settings import as_toml, unknown_variables


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `config` and its actions to the commands."""
    parser = commands.add_parser("config", help="show the settings of serve, or an example of a file")
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show",
        help="show all settings, and where each of them comes from",
        description="Show the settings that serve would have with the same options, as TOML. A comment has the source "
        "of each: a flag, a variable, a file, or the default. Secrets are hidden.",
        allow_abbrev=False,
    )
    show.set_defaults(parser=show)
    add_config_arguments(show, serve.defaults())
    example = actions.add_parser(
        "example",
        help="print a file with all settings",
        description="Print a TOML file for serve --config with all settings. Each is commented out and has its "
        "default, so the file changes nothing until it is edited.",
        allow_abbrev=False,
    )
    example.set_defaults(parser=example)


async def run(options: argparse.Namespace) -> int:
    """Print the settings or the example, and return the exit code.

    Raises:
        ConfigError: `serve` would refuse the settings.
    """
    if options.action == "example":
        lines = example_lines(serve.defaults())
    else:
        config, sources = load_with_sources(options, os.environ, serve.defaults())
        if unknown := unknown_variables(os.environ, VARIABLES):
            complain(f"ignored, because no setting has this name: {', '.join(unknown)}")
        lines = shown_lines(config, sources)
    # A file that lost lines would be other settings, so a full disk must fail.
    return show_lines(lines)


def shown_lines(config: Config, sources: dict[Option, str]) -> list[str]:
    """Return the settings as lines of TOML. Comments have their sources, and stand for secrets that are set."""
    lines = []
    for section, options in _sections().items():
        lines += [f"[{section}]"]
        for option in options:
            value = value_of(config, option)
            # The address of a database may have a password.
            is_secret = (option.secret and value) or (option.flag == "store" and config.store.place != value)
            setting = f"# {option.key} is hidden" if is_secret else f"{option.key} = {as_toml(value)}"
            lines.append(f"{setting}  # {sources.get(option, 'default')}")
        lines.append("")
    return lines[:-1]


def example_lines(defaults: Config) -> list[str]:
    """Return a file with all settings, commented out, and a comment for each of them."""
    lines = ["# Settings of livecaption: livecaption serve --config FILE, or LIVECAPTION_CONFIG=FILE.", ""]
    for section, options in _sections().items():
        lines += [f"[{section}]"]
        for option in options:
            choices = f": {', '.join(option.choices)}" if option.choices else ""
            lines += [f"# {option.help}{choices}", f"#{option.key} = {as_toml(value_of(defaults, option))}"]
        lines.append("")
    return lines[:-1]


def _sections() -> dict[str, list[Option]]:
    """Return the options of each section. A section may be in several groups of `--help`."""
    sections: dict[str, list[Option]] = {}
    for option in OPTIONS:
        sections.setdefault(option.section, []).append(option)
    return sections
