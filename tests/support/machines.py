"""Another machine for tests: a network namespace, joined to this one by a cable that can be unplugged."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

IP = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "ip"


class FarMachine:
    """A network namespace with one cable to this machine.

    Args:
        name: its name, short enough for the names of interfaces.
        network: the first three numbers of its network.

    Attributes:
        near: the address of this machine on the cable.
        address: the other end.
        inside: begins the command of a program that runs there.
    """

    def __init__(self, name: str, network: str) -> None:
        self._name = name
        self.near, self.address = f"{network}.1", f"{network}.2"
        self.inside = (IP, "netns", "exec", name)

    def make(self) -> None:
        """Make it, with its cable plugged in.

        Raises:
            OSError: this user may not, or `ip` is not installed.
        """
        _ip("netns", "add", self._name)
        _ip("link", "add", self._name, "type", "veth", "peer", "name", "cable", "netns", self._name)
        _ip("address", "add", f"{self.near}/24", "dev", self._name)
        self.plug_in()
        for command in (
            ("address", "add", f"{self.address}/24", "dev", "cable"),
            ("link", "set", "cable", "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", self._name, *command)

    def unplug(self) -> None:
        """Cut the network. Nothing is closed, and nothing is lost that can be sent again."""
        _ip("link", "set", self._name, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self._name, "up")

    def remove(self) -> None:
        _ip("netns", "delete", self._name)


@contextmanager
def far_machine() -> Iterator[FarMachine | None]:
    """Make a machine; None where this user may not, such as in a container without rights."""
    high, low = divmod(os.getpid() % 512, 256)
    machine = FarMachine(f"lc-{os.getpid()}", f"198.{18 + high}.{low}")  # RFC 2544: for tests
    made = False
    try:
        with suppress(OSError):
            machine.make()
            made = True
        yield machine if made else None
    finally:
        with suppress(OSError):
            machine.remove()


def _ip(*arguments: str) -> None:
    done = subprocess.run([IP, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise PermissionError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
