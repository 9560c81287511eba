"""Notify systemd of the state of the service: ready, reloading, stopping, alive. Without systemd, do nothing.

The protocol is that of sd_notify(3): `NAME=value` lines, in one datagram to the Unix socket that NOTIFY_SOCKET names.
"""

import os
import socket
from collections.abc import MutableMapping


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
        if not self._address:
            return
        lines = "\n".join(f"{name}={value}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setblocking(False)
                datagrams.sendto(lines.encode(), self._address)
        except OSError:
            pass  # the server works without notifications
