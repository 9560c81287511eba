"""Connect to PostgreSQL, and say why that fails.

A server whose machine loses power holds its locks until PostgreSQL notices, which `KEEPALIVES` bounds. This side
notices a dead peer by the time-outs of its statements.
"""

import errno
import ssl
from typing import Any

import asyncpg

from livecaption.errors import LivecaptionError, StoreUnusable

CONNECT_TIMEOUT_S = 5.0
"""Time-out in s of a new connection. Longer: a server that cannot start reports that later. Shorter: a distant or busy
database is refused."""
KEEPALIVES = {
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
"""PostgreSQL notices within 5 s that this machine is gone. Longer: its locks stay longer. Shorter: a network that loses
packets for a moment costs the connection."""

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors of a database that cannot be used now."""
_STARTS_OR_STOPS = (asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
_NO_TLS = "rejected SSL upgrade"
_REFUSED = f"[Errno {errno.ECONNREFUSED}]"

_OPTIONS: dict[str, Any] = {
    "timeout": CONNECT_TIMEOUT_S,
    "server_settings": {"application_name": "livecaption", **KEEPALIVES},
}


async def connect(url: str) -> Any:
    """Return a connection.

    Raises:
        StoreUnusable: the address is wrong.
        One of `FAILURES`: the database cannot be reached, or refuses; see `reason`.
    """
    return await _connect(url, **_OPTIONS)


async def pool(url: str, n_connections: int) -> Any:
    """Return a pool of connections, each of which is made when it is needed; see `connect`."""
    return await asyncpg.create_pool(url, min_size=0, max_size=n_connections, connect=_connect, **_OPTIONS)


async def _connect(url: str, **options: Any) -> Any:
    try:
        return await asyncpg.connect(url, **options)
    except ValueError:
        # Its message could have a part of the password.
        raise StoreUnusable("--store must be as postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full") from None


def is_down(error: BaseException) -> bool:
    """Return True if one of `FAILURES` shows that the database runs for nobody, and not for this server only."""
    if isinstance(error, (ConnectionRefusedError, *_STARTS_OR_STOPS)):
        return True
    # asyncio joins the errors of a name with several addresses into one text.
    return isinstance(error, OSError) and error.errno is None and _REFUSED in str(error)


def may_pass(error: BaseException) -> bool:
    """Return True if the same may succeed later after one of `FAILURES`: without a network, or a database that starts.

    Not where the database has answered, and refuses this server.
    """
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(error, (*_STARTS_OR_STOPS, asyncpg.PostgresConnectionError, asyncpg.TooManyConnectionsError))
    return not isinstance(error, ssl.SSLCertVerificationError) and _NO_TLS not in str(error)


def reason(error: BaseException) -> str:
    """Return the reason of one of `FAILURES` or of an error of ours, in a line, without the values of a row."""
    if isinstance(error, LivecaptionError):
        return error.message
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, TimeoutError):
        return "the database does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the database is not accepted: {error.verify_message}"
    if isinstance(error, ConnectionRefusedError):
        return "nothing answers there"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "the connection to the database is lost"
