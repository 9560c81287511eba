"""Exit codes, error lines, names that can be shown anywhere, and progress bars."""

import os
import sys
import unicodedata
from collections.abc import Iterable
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


def printable(text: object) -> str:
    """Replace characters that would change the terminal or the line, and bytes of a name that are not UTF-8.

    They become Python's escapes, such as `\\t`, `\\x1b` and `\\xff`.
    """
    return "".join(_escaped(character) for character in str(text))


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    if "\udc80" <= character <= "\udcff":  # a byte, by the handler `surrogateescape`
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode()


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, such as "1 file" and "2 files"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def reason(error: Exception) -> str:
    """Describe an error without the path that the system's message may have."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def complain(error: object) -> None:
    """Print an error as one line on stderr."""
    print(f"livecaption: {printable(error)}", file=sys.stderr)


def show(text: str) -> bool:
    """Print text on stdout at once. Return False if stdout cannot encode all; then an error and escapes are printed.

    Raises:
        OSError: stdout is closed, full or broken. Nothing remains in a buffer to fail again.
    """
    if sys.stdout is None:
        raise OSError("standard output is closed")
    sys.stdout.flush()
    data = memoryview(text.encode(sys.stdout.encoding, "backslashreplace"))
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        complain(f"standard output cannot show all characters ({sys.stdout.encoding}): set PYTHONIOENCODING=utf-8")
        return False
    return True


def show_lines(lines: Iterable[str]) -> int:
    """Print lines that a command is for, and return its exit code: 0 if stdout could show all.

    Raises:
        OSError: see `show`.
    """
    return 0 if show("".join(f"{printable(line)}\n" for line in lines)) else FAILED


def note(text: str) -> None:
    """Print a line about what was done. It may get lost, because it must not end what is being done."""
    try:
        print(printable(text), flush=True)
    except OSError:
        discard_stdout()


def discard_stdout() -> None:
    """Discard what is printed from now on, and what is in the buffer, after stdout has failed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
