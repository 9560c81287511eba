"""File descriptors: how many this process may have, and how many of them are left for readers.

Each connection takes one. Where all are taken nobody is served, and no inference process can be started, so readers
are refused before that.
"""

import sys
from contextlib import suppress

from livecaption.server.config import ServerConfig

if sys.platform != "win32":
    import resource

OWN = 64
"""The server itself has about 25, an inference process takes 11 while it starts and 3 then; requests have the rest."""
OF_A_STREAM = 4
"""Its connection, and three for the decoder of one that sends a container."""
STREAMS_SHARE = 0.5
"""All streams together count as no more than this share of what the server leaves. Few streams send containers. Without
a share, `--max-streams 300` would count as 1200, and 1024 descriptors would let in no reader at all."""
UNKNOWN_STREAMS = 32
"""Taken for the number of streams where that is measured; more than two cores hold."""


def raise_limit() -> None:
    """Let this process have as many as it may give itself: the soft limit is often 1024, for programs that `select`."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # some systems say that there is no limit, and have one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int | None:
    """How many this process may have; None: as many as it likes."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def max_readers(config: ServerConfig, n_descriptors: int | None) -> int:
    """How many readers the settings and this limit of descriptors allow."""
    if n_descriptors is None:
        return config.max_readers
    n_streams = UNKNOWN_STREAMS if config.max_streams is None else config.max_streams
    n_left = max(0, n_descriptors - OWN)
    return min(config.max_readers, n_left - min(OF_A_STREAM * n_streams, int(n_left * STREAMS_SHARE)))
