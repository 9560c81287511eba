"""Exit codes, error lines, and progress bars. All but the exit codes go to stderr."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
WRONG_USAGE = 2
ENGINE_UNUSABLE = 3
INTERRUPTED = 130


def stderr() -> "Console":
    """Make a console for progress bars and spinners."""
    from rich.console import Console

    # If stderr is not a terminal, bars and spinners would only leave blank lines.
    return Console(stderr=True, quiet=not sys.stderr.isatty())


def complain(error: object) -> None:
    """Print an error as one line on stderr."""
    print(f"livecaption: {error}", file=sys.stderr)
