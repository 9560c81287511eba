"""Look up the addresses of receivers in threads of their own.

aiohttp does so in the threads of the event loop. A name server that does not answer keeps each of them for many
seconds. Then files, pages and the stop of the server would wait for it.
"""

import asyncio
import errno
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

MAX_AT_A_TIME = 16
"""Names that are looked up at the same time. Fewer: receivers wait for the lookups of others. More: many threads."""


class Names(AbstractResolver):
    """Finds the addresses of hosts."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_AT_A_TIME, "names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: there are none, or no thread can be started.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host, port, family)
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from None

    async def close(self) -> None:
        """Do nothing: an idle thread ends with this object, and one that still waits must not hold the stop up."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    results: list[ResolveResult] = []
    for found, _, protocol, _, place in socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM):
        # It looks nothing up, and also writes the scope of link-local addresses.
        address, _ = socket.getnameinfo(place, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        results.append(ResolveResult(hostname=host, host=address, port=port, family=found, proto=protocol, flags=flags))
    return results
