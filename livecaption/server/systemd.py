"""Notify systemd of the state of the service: ready, reloading, stopping, alive. Without systemd, do nothing.

The protocol is that of sd_notify(3): `NAME=value` lines, in one datagram to the Unix socket that NOTIFY_SOCKET names.
Sockets that systemd has opened are those of sd_listen_fds(3).
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from livecaption.errors import ConfigError

FIRST_SOCKET = 3
"""The descriptor of the first socket that systemd has opened: SD_LISTEN_FDS_START."""


class ServiceManager:
    """The systemd that started this process, if one did."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Remove the variables from `environ`, so that the inference processes send no notifications."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watched_pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        # "@" replaces the zero byte at the beginning of the name of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.is_ready = False
        """True once READY=1 was sent."""
        self.watchdog_s: float | None = None
        """Time without a notification after which systemd kills the service; None if it has no watchdog."""
        if self._address and watchdog_us.isdecimal() and watched_pid == str(os.getpid()):
            self.watchdog_s = int(watchdog_us) / 1e6

    def notify(self, **values: str | int) -> None:
        """Send `NAME=value` lines, such as READY=1, without blocking. Lines that systemd does not accept are lost."""
        self.is_ready = self.is_ready or "READY" in values
        # The server works without notifications.
        with suppress(OSError):
            self._send("\n".join(f"{name}={value}" for name, value in values.items()))

    def _send(self, lines: str) -> None:
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setblocking(False)
                datagrams.sendto(lines.encode(), self._address)


def inherited_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd has opened for this process. Without systemd, there are none.

    The variables are removed from `environ`, and child processes inherit no socket.

    Raises:
        ConfigError: the server cannot listen on one of them.
    """
    pid, n_sockets = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    for name in ("LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        environ.pop(name, None)
    if pid != str(os.getpid()) or not n_sockets.isdecimal():
        return []
    sockets: list[socket.socket] = []
    try:
        for descriptor in range(FIRST_SOCKET, FIRST_SOCKET + int(n_sockets)):
            given = socket.socket(fileno=descriptor)
            given.set_inheritable(False)
            sockets.append(given)
            if given.type != socket.SOCK_STREAM or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError
    except OSError:
        for given in sockets:
            given.close()
        raise ConfigError(
            "systemd gave a socket on which no server can listen: use ListenStream= and Accept=no"
        ) from None
    return sockets
