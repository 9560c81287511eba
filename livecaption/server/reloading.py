"""A reload reads files again while the server runs, without a restart: `systemctl reload`, or SIGHUP of a service.

Each owner of files adds a step. A step that fails keeps what it had, so a wrong file does not end the server.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from livecaption.errors import LivecaptionError
from livecaption.server.systemd import ServiceManager

logger = logging.getLogger("livecaption")

FileState = tuple[int, ...] | None


def file_state(path: str | Path) -> FileState:
    """Return numbers that change when somebody replaces a file, writes it, or changes its rights. None: no file.

    Of a link, they are those of the file that it leads to.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Reloading:
    """The steps of a reload, and the notifications of systemd about it."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._steps: dict[str, Callable[[], None]] = {}

    def add(self, what: str, read: Callable[[], None]) -> None:
        """Add a step.

        Args:
            what: the name for the log, such as `certificate`.
            read: reads the files again, in the event loop. It may raise `LivecaptionError` or `OSError`.
        """
        self._steps[what] = read

    def run(self) -> None:
        """Run all steps, and log the outcome of each."""
        # systemd awaits READY after RELOADING. A server that still loads its model is not ready afterwards either.
        if announced := self._manager.is_ready:
            self._manager.notify(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        if not self._steps:
            logger.info("nothing to reload")
        for what, read in self._steps.items():
            try:
                read()
            except (LivecaptionError, OSError) as error:
                logger.error("%s: not reloaded, the server goes on with what it has: %s", what, error)
            else:
                logger.info("%s: reloaded", what)
        if announced:
            self._manager.notify(READY=1)
