"""Listen on the sockets of the settings or of systemd, and show people the addresses of the server.

bind -> the workers start -> listen -> close
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from aiohttp import web

from livecaption.config import check_access, is_on_this_machine
from livecaption.errors import ConfigError
from livecaption.server import links, wyoming
from livecaption.server.addresses import Endpoint, Listening, interfaces, own_urls
from livecaption.server.config import MIN_TOKEN_CHARACTERS, UNIX, ServerConfig
from livecaption.server.services import OWN_PORTS, SERVICES
from livecaption.server.tls import Tls
from livecaption.store.config import StoreConfig

BACKLOG = 128
"""Connections that the kernel holds while the loop is busy."""
UNIX_MODE = 0o660
"""The permissions of a Unix socket: its user and its group may connect, such as the group of a reverse proxy."""
PROBE_TIMEOUT_S = 1.0
"""Time in which a Unix socket must answer whether somebody listens on it; the kernel answers at once."""

WITHOUT_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
WYOMING = "wyoming"
"""The protocol that is not spoken over HTTP."""
REASONS = {
    errno.EADDRINUSE: "another program uses it (--port)",
    errno.EADDRNOTAVAIL: "this machine does not have this address",
    errno.EAFNOSUPPORT: "this machine has no IPv6, and --host 0.0.0.0 serves IPv4",
}
"""The errors of `bind`, in plainer words than those of the system."""

logger = logging.getLogger("livecaption")


@dataclass(frozen=True, slots=True)
class Handed:
    """The listening sockets of a parent, which its processes share: those of HTTP, and those of other protocols."""

    sockets: list[socket.socket]
    own: dict[str, list[socket.socket]]


class Listener:
    """The listening sockets of one server.

    Attributes:
        sockets: the sockets of HTTP, which are bound.
        own: the sockets of protocols that have a port of their own, by the name of the protocol.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        own_path: Path | None = None,
        own: dict[str, list[socket.socket]] | None = None,
    ) -> None:
        """Own the sockets, and the file of a Unix socket that the server has made itself."""
        self.sockets = sockets
        self.own = own or {}
        self._servers: list[asyncio.Server] = []
        self._own_path = own_path
        self._own_file = own_path.stat() if own_path else None

    @classmethod
    def bind(cls, server: ServerConfig, given: list[socket.socket] | None = None) -> "Listener":
        """Bind a socket for each address of the host, or a Unix socket, and those of protocols with their own port.

        Sockets that are `given` take the place of those of the host.

        An address that the machine does not have is left out if there is another one: many containers have the name
        `localhost` for `::1`, and no IPv6.

        Raises:
            OSError, ConfigError: an address cannot be used.
        """
        path = Path(server.unix_path) if server.unix_path is not None and not given else None
        listener = cls(given or ([_bind_unix(path)] if path else _bind(server.host, server.port)), path)
        for name, port in server.own_ports.items():
            try:
                listener.own[name] = _bind(server.host, port)
            except OSError as error:
                listener.close()
                reason = REASONS.get(error.errno or 0) or error.strerror or str(error)
                place = f"{server.host} port {port}"
                raise ConfigError(f"cannot listen on {place}: {reason.replace('--port', f'--{name}-port')}") from None
        return listener

    async def listen(self, runner: web.AppRunner, secured: Tls | None) -> list[str]:
        """Start the application with its workers, and listen. Return the addresses for this machine."""
        listening = runner.app[links.LISTENING]
        listening.scheme = scheme(secured)
        listening.endpoints = endpoints(self.sockets)
        await runner.setup()
        assert runner.server is not None  # because of `setup`
        if (siblings := runner.app[SERVICES].siblings) is not None:
            siblings.handover.open(runner.server)
        handshake_timeout_s = runner.app[SERVICES].config.server.http.keepalive_timeout_s
        over_tcp = self.own.get(WYOMING, [])
        over_http = [bound for sockets in (self.sockets, *self.own.values()) for bound in sockets]
        self._servers = [
            # aiohttp's SockSite is not used, because it gives an idle connection 60 s to begin with TLS.
            await asyncio.get_running_loop().create_server(
                runner.server,
                sock=bound,
                backlog=BACKLOG,
                ssl=secured.context if secured else None,
                ssl_handshake_timeout=handshake_timeout_s if secured else None,
            )
            for bound in over_http
            if bound not in over_tcp
        ]
        served = partial(wyoming.serve, runner.app)
        self._servers += [await asyncio.start_server(served, sock=bound, backlog=BACKLOG) for bound in over_tcp]
        runner.app[OWN_PORTS].update({bound.getsockname()[1]: name for name in self.own for bound in self.own[name]})
        return self.urls(listening.scheme)

    def urls(self, of: str) -> list[str]:
        """Return the addresses for this machine, with this scheme."""
        unix = [host for host in map(host_of, self.sockets) if host.startswith(UNIX)]
        return own_urls(of, endpoints(self.sockets), interfaces()) + unix

    def close(self) -> None:
        """Accept no more connections."""
        if self._own_path and self._own_file:
            with suppress(OSError):
                # A later server may have put its own socket there.
                if os.path.samestat(self._own_path.lstat(), self._own_file):
                    self._own_path.unlink()
        for server in self._servers:
            server.close()
        for sockets in (self.sockets, *self.own.values()):
            for bound in sockets:
                bound.close()


def scheme(secured: Tls | None) -> str:
    """Return the scheme of the server's addresses."""
    return "https" if secured else "http"


def with_address_of(given: Sequence[socket.socket], server: ServerConfig) -> ServerConfig:
    """Return the settings with the address of sockets of systemd in place of `--host` and `--port`.

    Of several sockets, one that other machines reach counts, because it decides how requests are checked.

    Raises:
        ConfigError: other machines could stream without a token.
    """
    bound = min(given, key=lambda each: is_on_this_machine(host_of(each)))
    name = bound.getsockname()
    server = replace(server, host=host_of(bound), port=name[1] if isinstance(name, tuple) else server.port)
    logger.info("systemd opened the sockets, and --host and --port are not used")
    check_access(server, f"the socket that systemd opened, {server.place},")
    return server


def host_of(bound: socket.socket) -> str:
    """Return the address of a socket as `--host` has it."""
    name = bound.getsockname()
    return str(name[0]) if isinstance(name, tuple) else UNIX + os.fsdecode(name).replace("\0", "@")


def endpoints(sockets: Sequence[socket.socket]) -> list[Endpoint]:
    """Return the addresses of network sockets. One of IPv6 that serves IPv4 too has an address of each."""
    found: list[Endpoint] = []
    for bound in sockets:
        name = bound.getsockname()
        if not isinstance(name, tuple):
            continue
        if name[0] == "::" and not bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            found.append(("0.0.0.0", name[1]))
        found.append(name[:2])
    return found


def log_start(listener: Listener, server: ServerConfig, store: StoreConfig, *, secured: Tls | None) -> None:
    """Log the addresses, for people at other machines too; what clients may speak there; and what is kept."""
    logger.info("listening on %s", " and ".join(listener.urls(scheme(secured))))
    _log_protocols(server)
    addresses = Listening(endpoints(listener.sockets), scheme(secured)).urls()  # `0.0.0.0` is none that a browser opens
    if server.public_page or addresses:
        logger.info("other machines open %s", server.public_page or ", ".join(addresses))
    warn_of_weak_token(server)
    logger.info("%s", store.description)


def _log_protocols(server: ServerConfig) -> None:
    """Log what clients may speak, and at which ports of their own. Requests of another protocol get 404."""
    ports = {"wyoming": server.wyoming_port, "vosk": server.vosk_port, "whisperlive": server.whisperlive_port}
    at = [f"{name} at port {port}" for name, port in ports.items() if port]
    spoken = [name for name in server.spoken_protocols if name != WYOMING]  # that needs a port of its own
    logger.info("protocols: %s (--protocols)", ", ".join(spoken + at))


def warn_of_weak_token(server: ServerConfig) -> None:
    """Warn if other machines reach a server whose token may be found by trying."""
    if server.has_weak_token and (server.public_url or not is_on_this_machine(server.host)):
        logger.warning(
            "LIVECAPTION_TOKEN has fewer than %d characters, and may be found by trying. This makes a random one: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe())'",
            MIN_TOKEN_CHARACTERS,
        )


def why_not(error: Exception, server: ServerConfig) -> str:
    """Describe an error of `Listener.bind`, or of TLS, which names the setting itself."""
    if not isinstance(error, OSError):
        return str(error)
    reason = REASONS.get(error.errno or 0) if server.unix_path is None else None
    return f"cannot listen on {server.place}: {reason or error.strerror or error}"


def _bind(host: str, port: int) -> list[socket.socket]:
    """Bind a socket for each address of the host.

    Raises:
        OSError: one cannot be used; none is left.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, _, _, _, address in found:
        # `::` alone stands for IPv4 too, as people expect, where the system can do that.
        dual = len(found) == 1 and address[0] == "::" and socket.has_dualstack_ipv6()
        try:
            sockets.append(socket.create_server(address[:2], family=family, dualstack_ipv6=dual))
        except OSError as error:
            if error.errno not in WITHOUT_ADDRESS:
                for bound in sockets:
                    bound.close()
                raise
            missing = error
    if missing and not sockets:
        raise missing
    return sockets


def _bind_unix(path: Path) -> socket.socket:
    """Bind a Unix socket. One that a killed server has left there is replaced.

    Raises:
        ConfigError: something else is there, or somebody listens on it.
        OSError: a directory is missing, or may not be changed.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError(f"--host {UNIX}{path}: this system has no Unix sockets")
    if path.is_socket():
        _remove_left(path)
    elif os.path.lexists(path):
        raise ConfigError(f"--host {UNIX}{path}: a file that is no socket is there")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        os.chmod(path, UNIX_MODE)  # nobody can connect before `listen`
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_left(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass  # somebody listens, with many connections that wait
    raise ConfigError(f"--host {UNIX}{path}: another program listens on it")
