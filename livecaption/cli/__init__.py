"""The command line runs a server, transcribes files, or shows live captions in the terminal.

    serve       runs the server
    transcribe  files -> text, subtitles          both stream to a server: the one at --server,
    listen      a file or microphone -> captions  or one that runs only for the command
    models      lists, downloads and verifies models
    backup      store of transcripts -> a file    each works while
    restore     such a file -> the store          a server uses the store
    export      store -> text, subtitles
    config      shows the settings of serve, or an example of a file
    token       makes and lists the keys of serve --tokens
    doctor      checks what works on this machine
    health      asks a running server whether it is alive
    bench       recordings -> accuracy, latency and cost of captions

Exit codes: 0 done, 1 something failed, 2 wrong usage or settings, 3 the model cannot be used,
130 Ctrl+C. Each failure is one line on stderr.

Each command has its module. `--help` imports all of them and loads nothing heavy, because a command imports the rest
when it runs.
"""

import argparse
import asyncio
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from livecaption import __version__
from livecaption.cli import (
    backup,
    bench,
    config,
    doctor,
    export,
    health,
    listen,
    models,
    restore,
    serve,
    token,
    transcribe,
)
from livecaption.cli.terminal import ENGINE_UNUSABLE, FAILED, WRONG_USAGE, complain, discard_stdout
from livecaption.errors import ConfigError, EngineUnusable, LivecaptionError

if TYPE_CHECKING:
    from livecaption.server.signals import SignalInbox


def main(arguments: Sequence[str], signals: "SignalInbox | None" = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the words after the program's name.
        signals: the inbox that `__main__` installs for the command `serve`; None for other commands.

    Raises:
        SystemExit: raised by argparse: 2 on wrong usage, 0 after `--help` and `--version`.
        KeyboardInterrupt: Ctrl+C was pressed; everything has been cleaned up.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and captions may be in any script
    options, unknown = build_parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        if options.command == "serve":
            assert signals is not None  # `__main__` installs them for this command
            return serve.run(options, signals)
        run = {
            "transcribe": transcribe.run,
            "listen": listen.run,
            "bench": bench.run,
            "models": models.run,
            "backup": backup.run,
            "restore": restore.run,
            "export": export.run,
            "config": config.run,
            "token": token.run,
            "doctor": doctor.run,
            "health": health.run,
        }[options.command]
        return asyncio.run(run(options))
    except ConfigError as error:
        complain(error)
        return WRONG_USAGE
    except EngineUnusable as error:
        complain(error)
        return ENGINE_UNUSABLE
    except BrokenPipeError:
        # The reader of the output has closed the pipe. The buffered rest must not fail again at exit.
        discard_stdout()
        return FAILED
    except (LivecaptionError, OSError, ValueError) as error:
        complain(error)
        return FAILED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line. Programs that make completions and man pages read it too."""
    parser = argparse.ArgumentParser(
        "livecaption",
        description="Live captions from your own machine: a WebSocket server, and transcripts of files.",
        epilog="Try: livecaption serve, then open http://localhost:8000 and speak.",
    )
    parser.add_argument("--version", action="version", version=f"livecaption {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (serve, transcribe, listen, models, backup, restore, export, config, token, doctor, health, bench):
        command.add_command(commands)
    return parser
