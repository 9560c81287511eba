"""TLS: the certificate of the settings, or one that the server makes for the names and addresses of its machine."""

import asyncio
import logging
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

from livecaption.config import Config
from livecaption.errors import ConfigError
from livecaption.server import certificate
from livecaption.server.addresses import interfaces, reachable
from livecaption.server.origins import origin_of
from livecaption.store.config import NO_HOME, NOWHERE, data_directory

CHECK_INTERVAL_S = 86_400.0
"""Time between two checks whether the certificate must be renewed. Longer: a server that moves to another network has
the wrong addresses in it for longer."""

logger = logging.getLogger("livecaption")


class Tls:
    """The TLS of one server.

    Attributes:
        context: for the listening sockets.
    """

    def __init__(self, config: Config) -> None:
        """Load the certificate, or make one.

        Raises:
            ConfigError: it cannot be used, made or kept.
        """
        self._config = config
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        if config.server.tls_self_signed:
            self._load(self._own())
            return
        try:
            self.context.load_cert_chain(config.server.tls_cert, config.server.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"--tls-cert, --tls-key: {error}") from None

    async def keep_valid(self) -> None:
        """Renew a certificate of the server's own each time it is about to expire. Open connections are not affected.

        A server that cannot do that goes on with the one it has.
        """
        while self._config.server.tls_self_signed:
            await asyncio.sleep(CHECK_INTERVAL_S)
            try:
                renewed = await asyncio.to_thread(self._own)
                if renewed.is_new:
                    self._load(renewed)
            except ConfigError as error:
                logger.warning("%s", error)

    def _own(self) -> certificate.Certificate:
        return certificate.ensure(directory(self._config), names(self._config), datetime.now(UTC))

    def _load(self, own: certificate.Certificate) -> None:
        self.context.load_cert_chain(own.path)
        logger.info(
            "self-signed certificate in %s, valid until %s. Browsers warn of it once; its SHA-256 fingerprint is %s",
            own.path,
            own.expires.date(),
            own.fingerprint,
        )


def directory(config: Config) -> Path:
    """Return where the server's own certificate is kept: beside the transcripts, else in the user's data directory.

    Raises:
        ConfigError: the home directory is unknown.
    """
    try:
        return data_directory() if config.store.path == NOWHERE else Path(config.store.path).expanduser().parent
    except RuntimeError:
        raise ConfigError(f"--tls-self-signed: {NO_HOME}, or --store to a file") from None


def names(config: Config) -> set[str]:
    """Return the names and addresses under which browsers may reach this server."""
    host = socket.gethostname().lower()
    found = {"localhost", "127.0.0.1", "::1", host, f"{host}.local", *map(str.lower, config.server.allowed_hosts)}
    public = origin_of(config.server.public_url)
    return found | set(reachable(interfaces())) | ({public[1]} if public else set())


def of(config: Config) -> Tls | None:
    """Return the TLS of the settings; None: the server speaks http.

    Raises:
        ConfigError: see `Tls`.
    """
    return Tls(config) if config.server.tls_cert or config.server.tls_self_signed else None
