"""A certificate with its chain and its private key, from files of the operator, and plain words for what is wrong."""

import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from livecaption.errors import ConfigError

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_PFX = b"\x02\x01\x03"
"""The version of PKCS#12, which follows the length of the whole (RFC 7292, 4)."""
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which Python has no name."""
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


@dataclass(frozen=True, slots=True)
class Chain:
    """A certificate that is ready for clients.

    Attributes:
        context: the server's side of handshakes.
        expires: the end of its validity; None: unknown, because clients would refuse it for another reason.
        warnings: why clients may refuse it.
    """

    context: ssl.SSLContext
    expires: datetime | None
    warnings: tuple[str, ...]


def load(cert: Path, key: Path, now: datetime) -> Chain:
    """Load the files, and ask nobody for a passphrase.

    Args:
        cert: the certificate of the server, followed by those of its issuers.
        key: its private key. It may be the same file.
        now: the time, with its zone.

    Raises:
        ConfigError: they cannot be used; the message has the reason and the file.
    """
    cert_pem, key_pem = _read(cert, "--tls-cert"), _read(key, "--tls-key")
    if why := fault(cert_pem, key_pem):
        raise ConfigError(why.format(cert=cert, key=key))

    def refuse() -> bytes:
        # Without a callback, OpenSSL asks on the terminal, and the server waits for it.
        raise ConfigError(f"--tls-key: {key} has a passphrase: remove it with openssl pkey -in {key} -out FILE")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key, refuse)
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            raise ConfigError(
                f"--tls-key: {key} is not the key of the first certificate in {cert} (--tls-cert)"
            ) from None
        reason = (error.reason or "one of them is damaged or incomplete").lower().replace("_", " ")
        raise ConfigError(f"--tls-cert {cert}, --tls-key {key}: {reason}") from None
    except OSError as error:
        raise ConfigError(f"--tls-cert {cert}, --tls-key {key}: {error.strerror or error}") from None
    try:
        fields = _as_clients_see_it(context, cert_pem)
    except ssl.SSLError as error:
        return Chain(context, None, (f"clients may refuse it: {getattr(error, 'verify_message', '') or error.reason}",))
    return Chain(context, _time(fields["notAfter"]), tuple(warnings(fields, _kinds(cert_pem), now)))


def fault(cert: bytes, key: bytes) -> str | None:
    """Return what is in the files instead of a certificate and its key, with `{cert}` and `{key}` for their names.

    None: nothing that is seen without OpenSSL.
    """
    in_cert, in_key = _kinds(cert), _kinds(key)
    cert_has_key, key_has_cert = _any(in_cert, "PRIVATE KEY"), _any(in_key, "CERTIFICATE")
    if not _any(in_cert, "CERTIFICATE"):
        if cert_has_key and key_has_cert and not _any(in_key, "PRIVATE KEY"):
            return "--tls-cert: {cert} has the private key, and {key} the certificate: swap --tls-cert and --tls-key"
        if cert_has_key:
            return "--tls-cert: {cert} has a private key and no certificate"
        if _any(in_cert, "CERTIFICATE REQUEST"):
            return "--tls-cert: {cert} is a request for a certificate, and not what the authority has made of it"
        return "--tls-cert: {cert} " + _instead(cert, "x509", "certificate", "{cert}")
    if not _any(in_key, "PRIVATE KEY"):
        if key_has_cert:
            return "--tls-key: {key} has a certificate and no private key"
        if _any(in_key, "PUBLIC KEY"):
            return "--tls-key: {key} has a public key, and the private one is needed"
        return "--tls-key: {key} " + _instead(key, "pkey", "private key", "{key}")
    return None


def warnings(fields: Mapping[str, Any], kinds: list[str], now: datetime) -> list[str]:
    """Return why clients may refuse a certificate.

    Args:
        fields: the certificate, as `ssl.SSLSocket.getpeercert` returns it.
        kinds: what its file has, such as `CERTIFICATE`.
        now: the time, with its zone.
    """
    found = []
    begins, ends = _time(fields["notBefore"]), _time(fields["notAfter"])
    if ends < now:
        found.append(f"it expired on {ends:%Y-%m-%d}: clients refuse it")
    if begins > now:
        found.append(f"it is not valid before {begins:%Y-%m-%d %H:%M} UTC: clients refuse it until then")
    # Certificates of public authorities name the place of their issuer's. One of a private authority needs no chain if
    # clients have its root.
    if len(kinds) - _count(kinds, "PRIVATE KEY") == 1 and "caIssuers" in fields:
        found.append(
            "the file has no certificate of its issuer: most programs, and some browsers, refuse it. Authorities "
            "deliver both in one file, often with the name fullchain.pem"
        )
    return found


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: cannot read {path}: {error.strerror or error}") from None


def _kinds(pem: bytes) -> list[str]:
    return [kind.decode() for kind in _BEGIN.findall(pem)]


def _any(kinds: list[str], ending: str) -> bool:
    return _count(kinds, ending) > 0


def _count(kinds: list[str], ending: str) -> int:
    return sum(kind.endswith(ending) for kind in kinds)


def _instead(content: bytes, command: str, what: str, name: str) -> str:
    """Return what a file is that has nothing in PEM."""
    if not content.strip():
        return "is empty"
    if content[:1] != b"\x30":  # every structure of DER begins with it
        return f"has no {what} in PEM (-----BEGIN ... -----)"
    if _PFX in content[2:8]:
        return f"is in PKCS#12, and PEM is needed: openssl pkcs12 -in {name} -nodes -out FILE, for both options"
    return f"is in DER, and PEM is needed: openssl {command} -inform DER -in {name} -out FILE"


def _as_clients_see_it(context: ssl.SSLContext, cert_pem: bytes) -> dict[str, Any]:
    """Return the fields of the certificate. The standard library decodes those of a peer only, so here is one.

    Raises:
        ssl.SSLError: a client that trusts this very certificate refuses it, at any time.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=cert_pem.decode("ascii", "ignore"))
    client.verify_flags = ssl.VerifyFlags(client.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server)
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (theirs, ours, theirs):  # hello, the certificate, its check
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return theirs.getpeercert() or {}


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
