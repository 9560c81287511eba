"""What systemd is told about the service: ready, stopping, alive. Says nothing where it does not run.

The protocol of sd_notify(3): `NAME=value` lines, one datagram to the Unix socket that
NOTIFY_SOCKET names.
"""

import os
import socket
from collections.abc import MutableMapping


class ServiceManager:
    """The systemd that started us, if one did."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables out of `environ`: the inference processes are not to speak for us."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watched_pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        # "@" stands for the zero byte with which the name of an abstract socket begins.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s: float | None = None
        """How long the service may be silent before systemd kills it; None: it does not watch."""
        if self._address and watchdog_us.isdecimal() and watched_pid == str(os.getpid()):
            self.watchdog_s = int(watchdog_us) / 1e6

    def notify(self, **values: str | int) -> None:
        """Send `NAME=value` lines, such as READY=1. Never blocks; what systemd does not take is lost."""
        if not self._address:
            return
        lines = "\n".join(f"{name}={value}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setblocking(False)
                datagrams.sendto(lines.encode(), self._address)
        except OSError:
            pass  # it is only told; whether it listens changes nothing for us
