"""Start the program. Spawned workers import this module again, so it does nothing on import."""

import gc
import os
import sys

START_THRESHOLD = 50_000
"""New objects for which the garbage collector runs. The imports of a command create about as many, and no garbage: with
Python's 700 the collector looks through them some 80 times, which is a tenth of the CPU time of a start."""


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    if getattr(sys, "frozen", False):
        # PyInstaller starts this program for each child process too. Without this line a child would be a command.
        from multiprocessing import freeze_support

        freeze_support()
    _fill_closed_descriptors()
    arguments = sys.argv[1:]
    gc.set_threshold(START_THRESHOLD)
    try:
        signals = None
        if arguments[:1] == ["serve"]:
            # Before slow imports, because an early signal must not be lost.
            from livecaption.server.signals import SignalInbox

            signals = SignalInbox.install()
        from livecaption import cli

        return cli.main(arguments, signals)
    except KeyboardInterrupt:
        return 130
    finally:
        gc.freeze()  # otherwise the interpreter would look through all objects again when it ends


def _fill_closed_descriptors() -> None:
    """Open the null device for each standard descriptor that is closed, and for `sys.stderr`.

    Otherwise a socket or a file of the program becomes descriptor 2, and child processes write their errors to it.
    `sys.stdin` and `sys.stdout` stay None, because commands that need them report that.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it is the lowest that is free
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)


if __name__ == "__main__":
    sys.exit(main())
