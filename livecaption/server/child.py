"""One process of a server with several: a whole server, whose sockets and signals its parent gives it.

    parent ─numbers of signals─> child: stop in order (SIGTERM), at once (the second one), or reload (SIGHUP)
    child ─lines of sd_notify(3)─> parent: it loads, is ready, and its loop turns

Both go over one pair of sockets. The signals themselves are ignored, also those of a terminal: see `ipc.lifeline`.
"""

import socket
from typing import NoReturn

from livecaption.config import Config
from livecaption.server import lifecycle
from livecaption.server.listening import Handed
from livecaption.server.signals import Escalation, SignalInbox
from livecaption.server.systemd import ServiceManager

WATCHDOG_S = 2.0
"""A process whose loop turns reports that twice in this time in s. Longer: one that hangs is found later."""


def run(config: Config, handed: Handed, signals: socket.socket) -> NoReturn:
    """Serve until the parent asks for a stop, and end the process. The parent decides which signals count."""
    inbox = SignalInbox.listening(signals, Escalation(hang_up_reloads=True, min_gap_s=0.0))
    lifecycle.run(config, inbox, handed, _Parent(signals))


class _Parent(ServiceManager):
    """The parent, which gets the notifications that systemd gets from the only process."""

    def __init__(self, to_parent: socket.socket) -> None:
        super().__init__({})
        self._to_parent = to_parent
        self.watchdog_s = WATCHDOG_S

    def _send(self, lines: str) -> None:
        self._to_parent.send(f"{lines}\n".encode(), socket.MSG_DONTWAIT)
