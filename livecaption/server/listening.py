"""Listen on the sockets of the settings, and show people the addresses under which they reach the server.

bind -> the workers start -> listen -> close
"""

import asyncio
import errno
import logging
import socket

from aiohttp import web

from livecaption.server import links
from livecaption.server.config import ServerConfig
from livecaption.server.services import SERVICES
from livecaption.server.tls import Tls

BACKLOG = 128
"""Connections that the kernel holds while the loop is busy."""

logger = logging.getLogger("livecaption")


class Listener:
    """The listening sockets of one server."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        self._servers: list[asyncio.Server] = []

    @classmethod
    def bind(cls, host: str, port: int) -> "Listener":
        """Bind a socket for each address of the host.

        Raises:
            OSError: an address cannot be used.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        try:
            for family, _, _, _, address in found:
                sockets.append(socket.create_server(address[:2], family=family))
        except OSError:
            for bound in sockets:
                bound.close()
            raise
        return cls(sockets)

    async def listen(self, runner: web.AppRunner, secured: Tls | None) -> str:
        """Start the application with its workers, and listen. Return the URL."""
        listening = runner.app[links.LISTENING]
        listening.scheme = "https" if secured else "http"
        listening.endpoints = [bound.getsockname()[:2] for bound in self.sockets]
        await runner.setup()
        assert runner.server is not None  # because of `setup`
        handshake_timeout_s = runner.app[SERVICES].config.server.http.keepalive_timeout_s
        self._servers = [
            # aiohttp's SockSite is not used, because it gives an idle connection 60 s to begin with TLS.
            await asyncio.get_running_loop().create_server(
                runner.server,
                sock=bound,
                backlog=BACKLOG,
                ssl=secured.context if secured else None,
                ssl_handshake_timeout=handshake_timeout_s if secured else None,
            )
            for bound in self.sockets
        ]
        host, port = self.sockets[0].getsockname()[:2]
        return f"{listening.scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def close(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.close()
        for bound in self.sockets:
            bound.close()


def log_addresses(runner: web.AppRunner) -> None:
    """Log the addresses for people at other machines: `0.0.0.0` is none that a browser opens."""
    addresses = runner.app[links.LISTENING].urls()
    public = runner.app[SERVICES].config.server.public_page
    if public or addresses:
        logger.info("other machines open %s", public or ", ".join(addresses))


def why_not(error: Exception, config: ServerConfig) -> str:
    """Describe an error of `Listener.bind`, or of TLS, which names the setting itself."""
    where = f"{config.host} port {config.port}"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: another program uses it (--port)"
    if isinstance(error, OSError):
        return f"cannot listen on {where}: {error.strerror or error}"
    return str(error)
