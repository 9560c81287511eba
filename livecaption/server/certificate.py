"""A certificate that the server makes for itself, keeps, and renews, so that browsers allow the microphone.

Nobody vouches for it: browsers show a warning once, and people can compare its fingerprint with the one in the log.
"""

import os
import ssl
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from livecaption.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509

FILE = "self-signed.pem"
VALID_DAYS = 397
"""Thirteen months. Apple's systems refuse certificates of more than 825 days ("Requirements for trusted certificates in
iOS 13 and macOS 10.15"). Shorter: people see the warning of their browser more often."""
RENEW_DAYS = 60
"""Days before its end from which a certificate is replaced. More: people see the warning of their browser sooner."""
NAME = "livecaption"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, in one file.

    Attributes:
        path: the file, in PEM.
        fingerprint: SHA-256 of the certificate, as browsers show it.
        expires: the end of its validity.
        is_new: whether it was made just now.
    """

    path: Path
    fingerprint: str
    expires: datetime
    is_new: bool


def check_library() -> None:
    """Check that the library for certificates is installed.

    Raises:
        ConfigError: it is missing.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--tls-self-signed needs the package cryptography: pip install 'livecaption-server[tls]'; in a checkout: "
            "pip install -e '.[tls]'"
        ) from None


def ensure(directory: Path, names: Iterable[str], now: datetime) -> Certificate:
    """Return the certificate in this directory, or make one if there is none, it ends soon, or a name is missing.

    The key has mode 0600, and cryptography is imported only here, because nobody else needs it.

    Args:
        directory: where it is kept; made if it does not exist.
        names: names and IP addresses of the server.
        now: the time, with its zone.

    Raises:
        ConfigError: the package cryptography is missing, or the file cannot be written.
    """
    check_library()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    path = directory / FILE
    wanted = _subject_names(names)
    made = None
    with suppress(OSError, ValueError):  # there is none, or it is damaged
        made = x509.load_pem_x509_certificate(path.read_bytes())
    is_new = made is None or not _is_good(path, made, wanted, now)
    if made is None or is_new:
        made, pem = _make(wanted, now)
        _write(path, pem)
    fingerprint = made.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(path, fingerprint, made.not_valid_after_utc, is_new)


def _subject_names(names: Iterable[str]) -> "list[x509.GeneralName]":
    from cryptography import x509

    subject_names: list[x509.GeneralName] = []
    for name in sorted(set(names)):
        try:
            subject_names.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            if name.isascii() and name:  # as certificates demand; such a name is none of DNS
                subject_names.append(x509.DNSName(name))
    return subject_names


def _is_good(path: Path, made: "x509.Certificate", wanted: "list[x509.GeneralName]", now: datetime) -> bool:
    from cryptography import x509

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
        covered = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ssl.SSLError, x509.ExtensionNotFound):  # its key is damaged, or somebody else has made it
        return False
    if not made.not_valid_before_utc <= now <= made.not_valid_after_utc - timedelta(days=RENEW_DAYS):
        return False
    return set(wanted) <= set(covered)


def _make(wanted: "list[x509.GeneralName]", now: datetime) -> "tuple[x509.Certificate, bytes]":
    """Return a certificate, and the text of the file: its key and itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,  # with the key of this certificate nobody can make one for another site
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of phones differ
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    encodings = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made, key.private_bytes(*encodings) + made.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, pem: bytes) -> None:
    """Replace the file at once, so that no other start reads half of it. A temporary file has mode 0600."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{FILE}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(f"--tls-self-signed: cannot write {path}: {error.strerror or error}") from None
