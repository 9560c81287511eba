"""Certificates of the operator: what is wrong with their files, in plain words."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from livecaption.errors import ConfigError
from livecaption.server import chain
from tests.support.cases import for_each
from tests.support.certificates import Authority, der, key_pem, written

AUTHORITY = Authority()
CERT, KEY = AUTHORITY.issue("captions.example.org")
_, OTHER_KEY = AUTHORITY.issue("other.example.org")
REQUEST = b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
PFX = bytes.fromhex("3082098f020103")
KEY_DER = base64.b64decode(b"".join(KEY.splitlines()[1:-1]))


@for_each(
    ("cert", "key", "words"),
    [
        (None, KEY, "--tls-cert: cannot read CERT: No such file or directory"),
        (CERT, None, "--tls-key: cannot read KEY: No such file or directory"),
        (b"", KEY, "--tls-cert: CERT is empty"),
        (b"hello", KEY, "--tls-cert: CERT has no certificate in PEM (-----BEGIN ... -----)"),
        (CERT, b"hello", "--tls-key: KEY has no private key in PEM (-----BEGIN ... -----)"),
        (KEY, KEY, "--tls-cert: CERT has a private key and no certificate"),
        (CERT, CERT, "--tls-key: KEY has a certificate and no private key"),
        (KEY, CERT, "--tls-cert: CERT has the private key, and KEY the certificate: swap --tls-cert and --tls-key"),
        (REQUEST, KEY, "--tls-cert: CERT is a request for a certificate, and not what the authority has made of it"),
        (CERT, PUBLIC_KEY, "--tls-key: KEY has a public key, and the private one is needed"),
        (der(CERT), KEY, "--tls-cert: CERT is in DER, and PEM is needed: openssl x509 -inform DER -in CERT -out FILE"),
        (CERT, KEY_DER, "--tls-key: KEY is in DER, and PEM is needed: openssl pkey -inform DER -in KEY -out FILE"),
        (
            PFX,
            PFX,
            "--tls-cert: CERT is in PKCS#12, and PEM is needed: openssl pkcs12 -in CERT -nodes -out FILE, for both "
            "options",
        ),
        (CERT, OTHER_KEY, "--tls-key: KEY is not the key of the first certificate in CERT (--tls-cert)"),
        (AUTHORITY.pem + CERT, KEY, "--tls-key: KEY is not the key of the first certificate in CERT (--tls-cert)"),
        (CERT[:300], KEY, "--tls-cert CERT, --tls-key KEY: one of them is damaged or incomplete"),
        (CERT, KEY[:100], "--tls-cert CERT, --tls-key KEY: one of them is damaged or incomplete"),
    ],
)
def test_wrong_files_are_named_in_plain_words(
    tmp_path: Path, cert: bytes | None, key: bytes | None, words: str
) -> None:
    paths = written(tmp_path, cert or b"", key or b"")
    for path, content in zip(paths, (cert, key), strict=True):
        if content is None:
            path.unlink()
    with pytest.raises(ConfigError) as refusal:
        chain.load(*paths, datetime.now(UTC))
    shown = str(refusal.value).replace(str(paths[0]), "CERT").replace(str(paths[1]), "KEY")
    assert shown == words


def test_nobody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    """OpenSSL would ask on the terminal, and a server that systemd started would wait for ever."""
    key = ec.generate_private_key(ec.SECP256R1())
    cert, _ = AUTHORITY.issue("captions.example.org", key=key)
    paths = written(tmp_path, cert, key_pem(key, b"secret"))
    with pytest.raises(ConfigError, match="has a passphrase: remove it with openssl pkey -in"):
        chain.load(*paths, datetime.now(UTC))


def loaded(directory: Path, cert: bytes, key: bytes) -> chain.Chain:
    return chain.load(*written(directory, cert, key), datetime.now(UTC))


def test_a_certificate_that_clients_accept_gets_no_warning(tmp_path: Path) -> None:
    """One of a private authority needs no chain, because clients that trust the authority have its certificate."""
    good = loaded(tmp_path, CERT, KEY)
    assert good.warnings == ()
    assert good.expires is not None
    assert timedelta(days=29) < good.expires - datetime.now(UTC) < timedelta(days=30)
    cert, key = AUTHORITY.issue("captions.example.org", is_public=True)
    assert loaded(tmp_path, cert + AUTHORITY.pem, key).warnings == ()
    assert chain.load(*(written(tmp_path, CERT + KEY, b"")[:1] * 2), datetime.now(UTC)).warnings == ()


def test_a_certificate_that_clients_refuse_is_loaded_with_a_warning(tmp_path: Path) -> None:
    def warnings(**how: Any) -> str:
        [warning] = loaded(tmp_path, *AUTHORITY.issue("captions.example.org", **how)).warnings
        return warning

    ended = datetime.now(UTC) - timedelta(days=10)
    assert warnings(begins=timedelta(days=-40)) == f"it expired on {ended:%Y-%m-%d}: clients refuse it"
    assert warnings(begins=timedelta(days=2)).startswith("it is not valid before ")
    assert warnings(is_public=True).startswith("the file has no certificate of its issuer")
    assert warnings(usages=[ExtendedKeyUsageOID.CLIENT_AUTH]).startswith("clients may refuse it: ")
