"""A child process that logs an exception."""

import logging


def run() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("child").exception("it failed")
