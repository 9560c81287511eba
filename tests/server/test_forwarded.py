"""The client of a request that proxies have passed on."""

import pytest

from livecaption.server.forwarded import Client, client_of, request_id_of
from tests.support.cases import for_each

TRUSTED = ("127.0.0.1", "10.0.0.0/8", "fd00::/8")


@for_each(
    ("peer", "passed", "client"),
    [
        ("127.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("::ffff:127.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        # The client has invented the first one.
        ("127.0.0.1", "127.0.0.1, 203.0.113.5", "203.0.113.5"),
        ("127.0.0.1", "192.0.2.1, 203.0.113.5, 10.1.1.1", "203.0.113.5"),
        # All are in trusted networks: it is somebody there.
        ("127.0.0.1", "10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", " , ", "127.0.0.1"),
        # Some proxies add the port.
        ("127.0.0.1", "203.0.113.5:4711", "203.0.113.5"),
        ("127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        # Zones of IPv6 may be any text.
        ("127.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("127.0.0.1", "fe80::1%<b>evil", "fe80::1"),
        # What is no address ends the search, because what is left of it cannot be believed.
        ("127.0.0.1", "198.51.100.1, unknown", ""),
        # Anybody can send the header to the server itself.
        ("203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("", "127.0.0.1", ""),
    ],
)
def test_the_client_is_the_right_most_address_that_is_no_trusted_proxy(peer: str, passed: str, client: str) -> None:
    assert client_of(peer, "http", {"X-Forwarded-For": passed}, TRUSTED).address == client


def test_a_unix_socket_is_a_trusted_proxy_if_the_settings_name_it() -> None:
    passed = {"X-Forwarded-For": "198.51.100.1, 203.0.113.5"}
    assert client_of("unix:", "http", passed, (*TRUSTED, "unix:")).address == "203.0.113.5"
    assert client_of("unix:", "http", {}, ("unix:",)).address == "unix:"
    assert client_of("unix:", "http", passed, TRUSTED).address == "unix:"
    assert client_of("203.0.113.9", "http", passed, ("unix:",)).address == "203.0.113.9"
    assert client_of("", "http", passed, ("unix:",)).address == ""


FORWARDED = {
    "Host": "127.0.0.1:8000",
    "X-Forwarded-For": "203.0.113.5",
    "X-Forwarded-Host": "captions.example.org:8443",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/hall/",
}


def test_a_client_is_described_by_the_headers_of_a_trusted_proxy() -> None:
    client = Client("203.0.113.5", "captions.example.org:8443", "https", "/hall")
    assert client_of("127.0.0.1", "http", FORWARDED, TRUSTED) == client


@pytest.mark.parametrize("trusted", [("::ffff:127.0.0.0/104",), ("::ffff:127.0.0.1",), ("::/0", "127.0.0.1")])
def test_a_network_of_ipv4_may_be_written_in_ipv6(trusted: tuple[str, ...]) -> None:
    assert client_of("127.0.0.1", "http", {"X-Forwarded-For": "203.0.113.5"}, trusted).address == "203.0.113.5"


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",)])
def test_headers_of_others_change_nothing(trusted: tuple[str, ...]) -> None:
    assert client_of("127.0.0.1", "http", FORWARDED, trusted) == Client("127.0.0.1", "127.0.0.1:8000", "http")


def test_without_the_headers_a_trusted_proxy_changes_nothing() -> None:
    assert client_of("10.0.0.1", "https", {"Host": "captions"}, TRUSTED) == Client("10.0.0.1", "captions", "https")


@for_each(
    ("hosts", "passed", "host"),
    [
        # One proxy has replaced the header, or appended to what the client invented.
        ("inner", "203.0.113.5", "inner"),
        ("invented, edge", "203.0.113.5", "edge"),
        # The outer one of two proxies received the request of the client.
        ("edge, inner", "203.0.113.5, 10.0.0.2", "edge"),
        ("invented, edge, inner", "203.0.113.5, 10.0.0.2", "edge"),
        ("edge", "203.0.113.5, 10.0.0.2", "edge"),
    ],
)
def test_of_several_proxies_the_outermost_trusted_one_counts(hosts: str, passed: str, host: str) -> None:
    headers = {"X-Forwarded-Host": hosts, "X-Forwarded-For": passed}
    assert client_of("127.0.0.1", "http", headers, TRUSTED).host == host


@for_each("prefix", ["hall", "//", "/a b", "/x?y", "/#", '/"', "https://evil.example"])
def test_a_prefix_that_is_no_path_is_ignored(prefix: str) -> None:
    assert client_of("127.0.0.1", "http", {"X-Forwarded-Prefix": prefix}, TRUSTED).prefix == ""


@for_each(
    ("peer", "given", "taken"),
    [
        ("127.0.0.1", "0123456789abcdef", True),
        ("10.0.0.1", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", True),
        ("203.0.113.9", "0123456789abcdef", False),
        ("", "0123456789abcdef", False),
        ("unix:", "0123456789abcdef", False),
        ("127.0.0.1", "x" * 65, False),
        ("127.0.0.1", "a b", False),
        ("127.0.0.1", 'a"b', False),
        ("127.0.0.1", "naïve", False),
        ("127.0.0.1", "a\n", False),
        ("127.0.0.1", "", False),
    ],
)
def test_the_id_of_a_request_is_that_of_a_trusted_proxy_if_it_is_short_and_plain(
    peer: str, given: str, taken: bool
) -> None:
    assert request_id_of(peer, {"X-Request-Id": given}, TRUSTED) == (given if taken else None)
