"""Certificates of an authority of a test, and a look at what a server presents."""

import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """An authority of one's own, such as operators make with openssl.

    Attributes:
        pem: its certificate, which clients trust.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of a test")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        own = self._builder(self._name, self._key, timedelta()).add_extension(basic, critical=True)
        self.pem = own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *names: str,
        key: Key | None = None,
        begins: timedelta = timedelta(hours=-1),
        usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
        is_public: bool = False,
    ) -> tuple[bytes, bytes]:
        """Return a certificate for host names or addresses, valid for 30 days, and its key, both as PEM.

        Args:
            names: the host names or addresses.
            key: the key; None: a new one.
            begins: the begin of its validity, from now.
            usages: what it may be used for.
            is_public: whether it names the place of the authority's own certificate, as those of public ones do.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        issued = self._builder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])]), key, begins)
        issued = issued.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
        issued = issued.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if is_public:
            place = x509.UniformResourceIdentifier("http://authority.example/ca.cer")
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
            issued = issued.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        made = issued.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM), key_pem(key)

    def _builder(self, subject: x509.Name, key: Key, begins: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + begins + timedelta(days=30))
        )

    def server(self, directory: Path, *names: str) -> ssl.SSLContext:
        """Return what a server with these names needs for TLS. The directory gets its files, and `authority.pem`."""
        (directory / "authority.pem").write_bytes(self.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*written(directory, *self.issue(*names)))
        return context


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def key_pem(key: Key, passphrase: bytes = b"") -> bytes:
    """Return a private key as PEM, encrypted if there is a passphrase."""
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def der(pem: bytes) -> bytes:
    """Return the first certificate in DER, which servers present and which differs for each."""
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def presented(server: ssl.SSLContext, ciphers: Sequence[str] = ()) -> bytes:
    """Return the certificate that a server presents, in DER.

    Args:
        server: its context.
        ciphers: those of TLS 1.2 that the client accepts; empty: all, also of TLS 1.3.

    Raises:
        ssl.SSLError: server and client have no cipher in common.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(":".join(ciphers))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs, ours = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for side in (theirs, ours, theirs, ours, theirs):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    found = theirs.getpeercert(binary_form=True)
    assert found is not None
    return found


def written(directory: Path, cert: bytes, key: bytes) -> tuple[Path, Path]:
    """Write a certificate and its key to two files, and return them."""
    paths = directory / "cert.pem", directory / "key.pem"
    for path, content in zip(paths, (cert, key), strict=True):
        replace(path, content)
    return paths


def replace(path: Path, content: bytes) -> None:
    """Replace a file at once, because a server may look just now."""
    whole = path.with_suffix(".new")
    whole.write_bytes(content)
    whole.replace(path)
