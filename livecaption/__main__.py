"""Start the program. Spawned workers import this module again, so it does nothing on import."""

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    arguments = sys.argv[1:]
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


if __name__ == "__main__":
    sys.exit(main())
