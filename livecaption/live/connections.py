"""The connections of publishers that are open, and how many there were, by protocol."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from livecaption.live.peer import Socket


class Connections:
    """All open connections.

    Attributes:
        n_opened: connections since the start, by protocol.
    """

    def __init__(self) -> None:
        self.n_opened: Counter[str] = Counter()
        self._open: set[Socket] = set()

    def __iter__(self) -> Iterator[Socket]:
        return iter(list(self._open))  # one may close meanwhile

    @property
    def n_open(self) -> dict[str, int]:
        """Open connections, by protocol."""
        return dict.fromkeys(self.n_opened, 0) | Counter(socket.protocol for socket in self._open)

    @contextmanager
    def containing(self, socket: Socket) -> Iterator[None]:
        """Note a connection for as long as it is open."""
        self._open.add(socket)
        self.n_opened[socket.protocol] += 1
        try:
            yield
        finally:
            self._open.discard(socket)
