"""Exit codes, and what is told beside the output: one line for an error, bars while something takes long."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
WRONG_USAGE = 2
ENGINE_UNUSABLE = 3
INTERRUPTED = 130


def stderr() -> "Console":
    """Make a console for bars and spinners."""
    from rich.console import Console

    # Bars and spinners are for people; where nobody watches they would only leave blank lines.
    return Console(stderr=True, quiet=not sys.stderr.isatty())


def complain(error: object) -> None:
    """Print an error as one line on stderr."""
    print(f"livecaption: {error}", file=sys.stderr)
