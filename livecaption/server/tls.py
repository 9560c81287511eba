"""TLS: the certificate of the settings, or one that the server makes for the names and addresses of its machine.

Either may be replaced while the server runs.
"""

import asyncio
import logging
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

from livecaption.config import Config
from livecaption.errors import ConfigError
from livecaption.server import certificate, chain
from livecaption.server.addresses import interfaces, reachable
from livecaption.server.origins import origin_of
from livecaption.server.reloading import FileState, file_state
from livecaption.store.config import NO_HOME, NOWHERE, data_directory

CHECK_INTERVAL_S = 86_400.0
"""Time between two checks whether the server's own certificate must be renewed. Longer: a server that moves to another
network has the wrong addresses in it for longer."""
LOOK_INTERVAL_S = 5.0
"""Time between two looks at the files of the operator. Longer: a renewed certificate is used later. Shorter: more work
for a file system on the network."""

logger = logging.getLogger("livecaption")


class Tls:
    """The TLS of one server.

    Attributes:
        context: for the listening sockets. Each handshake goes on in the context of the newest certificate.
    """

    def __init__(self, config: Config) -> None:
        """Load the certificate, or make one.

        Raises:
            ConfigError: it cannot be used, made or kept.
        """
        self._config = config
        self._fingerprint = ""  # of the server's own certificate
        self._files: list[tuple[int, ...] | None] = []  # the state of the operator's, when they were loaded
        self._complaint = ""
        self._expires: datetime | None = None
        self.read_again()
        self.context = self._newest
        # A context that gets another chain keeps an earlier one of another kind of key, and presents it to some
        # clients. So each certificate has a context of its own.
        self.context.sni_callback = self._use_newest

    def expiry(self) -> datetime | None:
        """Return the end of the validity of the certificate in use; None: unknown."""
        return self._expires

    def read_again(self) -> None:
        """Use the certificate that there is now. Open connections go on with the former one.

        Raises:
            ConfigError: it cannot be used, made or kept. The server goes on with the one that it has.
        """
        if self._config.server.tls_self_signed:
            self._read_own()
        else:
            self._read_files()

    async def keep_valid(self) -> None:
        """Renew a certificate of the server's own, or load the operator's when they change.

        While that is impossible, the server goes on with the one that it has, and tries again.
        """
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S if self._config.server.tls_self_signed else LOOK_INTERVAL_S)
            try:
                await asyncio.to_thread(self._check)
                self._complaint = ""
            except ConfigError as error:
                # An authority's program writes one file after the other, and meanwhile they do not belong together.
                if self._complaint != str(error):
                    logger.warning("%s; the server goes on with the certificate that it has", error)
                self._complaint = str(error)
            except Exception as error:
                if self._complaint != repr(error):
                    logger.exception("a look at the certificate failed; the server goes on with the one that it has")
                self._complaint = repr(error)

    def _check(self) -> None:
        if self._config.server.tls_self_signed or self._files != self._look():
            self.read_again()

    def _use_newest(self, handshake: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
        handshake.context = self._newest

    def _read_files(self) -> None:
        files = self._look()
        cert = Path(self._config.server.tls_cert)
        loaded = chain.load(cert, Path(self._config.server.tls_key), datetime.now(UTC))
        self._newest, self._files, self._expires = loaded.context, files, loaded.expires
        logger.info("certificate in %s%s", cert, f", valid until {loaded.expires:%Y-%m-%d}" if loaded.expires else "")
        for warning in loaded.warnings:
            logger.warning("certificate in %s: %s", cert, warning)

    def _look(self) -> list[FileState]:
        """Return what changes whenever somebody replaces or writes the files, or what they are links to."""
        return [file_state(path) for path in (self._config.server.tls_cert, self._config.server.tls_key)]

    def _read_own(self) -> None:
        own = certificate.ensure(directory(self._config), names(self._config), datetime.now(UTC))
        if own.fingerprint == self._fingerprint:
            return
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(own.path)
        self._newest, self._fingerprint, self._expires = context, own.fingerprint, own.expires
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
        if config.store.path == NOWHERE or config.store.is_postgresql:
            return data_directory()
        return Path(config.store.path).expanduser().parent
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
