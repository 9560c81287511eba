"""The connections of protocols that ask for admission with their first message, until that is there. Pure.

WhisperLive reports over the open connection that the server is full, and a client of Wyoming may only ask what the
server can do. They hold no slot meanwhile, so their number has a limit of its own. Wyoming has a lobby of its own too:
its clients show no key, and must not keep out those that did.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from livecaption.errors import Unavailable

MAX_CONNECTIONS = 100
"""More: more sockets for strangers, for 10 s each (`start_timeout_s`). Less: strangers keep clients out more easily."""
RETRY_AFTER_S = 2.0


class Lobby:
    """The connections that are neither admitted nor refused yet.

    Args:
        max_connections: their largest number.
    """

    def __init__(self, max_connections: int = MAX_CONNECTIONS) -> None:
        self._max_connections = max_connections
        self._n_connections = 0

    def __len__(self) -> int:
        return self._n_connections

    def check(self) -> None:
        """Check that there is a place.

        Raises:
            Unavailable: too many wait.
        """
        if self._n_connections >= self._max_connections:
            raise Unavailable("too many connections wait for their first message", retry_after_s=RETRY_AFTER_S)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a connection while it waits for its first message.

        Raises:
            Unavailable: too many wait.
        """
        self.check()
        self._n_connections += 1
        try:
            yield
        finally:
            self._n_connections -= 1
