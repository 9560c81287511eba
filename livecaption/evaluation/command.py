"""Parse counts, and report what made a measurement impossible: the common part of the commands that measure."""

import argparse
import functools
import subprocess
import sys
from collections.abc import Callable
from typing import ParamSpec

from livecaption.errors import LivecaptionError

Given = ParamSpec("Given")


def count(text: str) -> int:
    """Parse an option that is at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least one")
    return number


def reporting(main: Callable[Given, int]) -> Callable[Given, int]:
    """Let a command report what made its measurement impossible by a line of stderr and exit code 2."""

    @functools.wraps(main)
    def reported(*args: Given.args, **kwargs: Given.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except (OSError, ValueError, LivecaptionError, subprocess.CalledProcessError) as error:
            print(str(error) or type(error).__name__, file=sys.stderr)
            return 2

    return reported
