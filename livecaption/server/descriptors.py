"""The limit of file descriptors bounds the number of readers.

Each connection takes a descriptor. If all were in use, no client could connect and no inference process could start.
Readers are therefore refused before that, so that all others have theirs.
"""

import sys
from contextlib import suppress

from livecaption.delivery.destination import MAX_SINKS
from livecaption.live.lobby import MAX_CONNECTIONS
from livecaption.recordings.admission import MAX_AT_A_TIME, MAX_WAITING
from livecaption.server.config import ServerConfig

if sys.platform != "win32":
    import resource

OWN = 64
"""Descriptors for the server itself: it has about 25. An inference process takes 11 while it starts and 3 later. The
rest is for requests."""
OF_A_DECODER = 3
OF_A_STREAM = 1 + OF_A_DECODER
"""Descriptors of one stream: one for its connection, and three for its decoder if it sends a container."""
OF_OTHERS = 2 * MAX_CONNECTIONS + 2 * (MAX_AT_A_TIME + MAX_WAITING) + OF_A_DECODER * MAX_AT_A_TIME + MAX_SINKS
"""Descriptors for the others that have a bound of their own: connections that wait for admission, in two lobbies;
recordings, each with a connection and a file, and a decoder while it is transcribed; sinks, each with a connection."""
STREAMS_SHARE = 0.5
"""Largest share of the remaining descriptors that is reserved for streams, because few streams send containers. Without
this bound, `--max-streams 300` would reserve 1200, and a limit of 1024 descriptors would allow no reader at all."""
UNKNOWN_STREAMS = 32
"""Assumed number of streams if `--max-streams` is not set. Two cores cannot serve as many."""


def raise_limit() -> None:
    """Raise the soft limit to the hard one. The soft limit is often 1024, for programs that use `select`."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # some systems report no limit, and have one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int | None:
    """Return the number of descriptors that this process may have, or None without a limit."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def max_readers(config: ServerConfig, n_descriptors: int | None) -> int:
    """Return the number of readers that the settings and this limit of descriptors allow."""
    if n_descriptors is None:
        return config.max_readers
    n_streams = UNKNOWN_STREAMS if config.max_streams is None else config.max_streams
    n_left = max(0, n_descriptors - OWN - OF_OTHERS)
    return min(config.max_readers, n_left - min(OF_A_STREAM * n_streams, int(n_left * STREAMS_SHARE)))
