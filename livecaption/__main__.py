"""Start the program. Spawned workers import this module again, so it does nothing on import."""

import gc
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


if __name__ == "__main__":
    sys.exit(main())
