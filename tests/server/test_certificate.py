"""The server's own certificate: made once, kept, and renewed when it must be."""

import hashlib
import os
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from livecaption.errors import ConfigError
from livecaption.server import certificate
from livecaption.server.certificate import ensure
from tests.support.cases import for_each

NAMES = ["localhost", "lectern.local", "192.0.2.7", "fd00::9"]
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_a_certificate_is_kept_with_its_key_where_only_the_user_reads_it(tmp_path: Path) -> None:
    made = ensure(tmp_path / "data", NAMES, NOW)
    assert made.is_new
    assert os.stat(made.path).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path / "data") == [made.path.name]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.path)
    pem = made.path.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    assert made.fingerprint == hashlib.sha256(der).digest().hex(":").upper()
    again = ensure(tmp_path / "data", reversed(NAMES), NOW + timedelta(days=300))
    assert (again.fingerprint, again.is_new) == (made.fingerprint, False)


@for_each(
    ("names", "days", "is_new"),
    [
        (NAMES[:2], 1, False),  # an address that is gone is no reason for another warning of the browser
        ([*NAMES, "198.51.100.7"], 1, True),
        ([*NAMES, "captions.example.org"], 1, True),
        (NAMES, certificate.VALID_DAYS - certificate.RENEW_DAYS - 1, False),
        (NAMES, certificate.VALID_DAYS - certificate.RENEW_DAYS + 1, True),
        (NAMES, certificate.VALID_DAYS + 1, True),
        (NAMES, -2, True),  # the clock was wrong
    ],
)
def test_a_certificate_is_replaced_before_it_ends_and_when_a_name_is_missing(
    tmp_path: Path, names: list[str], days: int, is_new: bool
) -> None:
    (tmp_path / certificate.FILE).unlink(missing_ok=True)
    first = ensure(tmp_path, NAMES, NOW)
    now = NOW + timedelta(days=days)
    second = ensure(tmp_path, names, now)
    assert second.is_new is is_new
    assert (second.fingerprint != first.fingerprint) is is_new
    assert second.expires > now + timedelta(days=certificate.RENEW_DAYS)


def test_a_file_that_is_damaged_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / certificate.FILE
    path.write_text("no certificate")
    assert ensure(tmp_path, NAMES, NOW).is_new
    pem = path.read_text()
    path.write_text(pem[pem.index("-----BEGIN CERTIFICATE") :])  # without its key
    assert ensure(tmp_path, NAMES, NOW).is_new
    assert not ensure(tmp_path, NAMES, NOW).is_new


def test_a_name_that_a_certificate_cannot_have_is_left_out(tmp_path: Path) -> None:
    assert ensure(tmp_path, ["localhost", "hörsaal", ""], NOW).is_new
    assert not ensure(tmp_path, ["localhost", "hörsaal", ""], NOW).is_new


def test_without_the_package_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'livecaption-server\[tls\]'"):
        ensure(tmp_path, NAMES, NOW)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--tls-self-signed: cannot write .*file/self-signed.pem: "):
        ensure(tmp_path / "file", NAMES, NOW)
