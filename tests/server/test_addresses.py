"""Addresses that people at other machines can open."""

import socket

import pytest

from livecaption.server.addresses import Listening, interfaces, own_urls, reachable, urls
from tests.support.cases import for_each

pytestmark = pytest.mark.pure

LAPTOP = {
    "lo": ["127.0.0.1", "::1", "00:00:00:00:00:00"],
    "wlan0": ["2001:db8::7", "192.0.2.7", "fe80::1%wlan0", "02:fc:00:00:00:01"],
    "eth0": ["169.254.3.4"],
    "usb0": ["fd00::9", "fe80::2%usb0"],
    "docker0": ["172.17.0.1"],
    "br-1a2b3c": ["172.18.0.1"],
    "veth12ab": ["fe80::3%veth12ab"],
    "virbr0": ["192.168.122.1"],
    "vEthernet (WSL)": ["172.20.0.1"],
}


def test_other_machines_reach_neither_loopback_nor_link_local_addresses_nor_networks_of_containers() -> None:
    assert reachable(LAPTOP) == ["192.0.2.7", "fd00::9"]
    assert reachable({}) == []


@for_each(
    ("endpoints", "expected"),
    [
        ([("0.0.0.0", 8000)], ["http://192.0.2.7:8000/"]),
        ([("0.0.0.0", 80)], ["http://192.0.2.7/"]),
        ([("::", 8000)], ["http://[fd00::9]:8000/"]),
        ([("::", 8000), ("0.0.0.0", 8000)], ["http://[fd00::9]:8000/", "http://192.0.2.7:8000/"]),
        ([("192.0.2.7", 8000)], ["http://192.0.2.7:8000/"]),
        ([("127.0.0.1", 8000)], []),
        ([("127.0.0.1", 8000), ("::1", 8000)], []),
        ([], []),
    ],
)
def test_only_addresses_on_which_the_server_listens_are_offered(
    endpoints: list[tuple[str, int]], expected: list[str]
) -> None:
    assert urls("http", endpoints, LAPTOP) == expected


def test_the_usual_port_of_https_is_left_out() -> None:
    assert urls("https", [("0.0.0.0", 443)], LAPTOP) == ["https://192.0.2.7/"]
    assert urls("https", [("0.0.0.0", 80)], LAPTOP) == ["https://192.0.2.7:80/"]


@for_each(
    ("endpoints", "expected"),
    [
        ([("0.0.0.0", 8000)], ["http://127.0.0.1:8000/"]),
        ([("::", 8000)], ["http://[::1]:8000/"]),
        ([("0.0.0.0", 8000), ("::", 8000)], ["http://127.0.0.1:8000/", "http://[::1]:8000/"]),
        ([("127.0.0.1", 80), ("::1", 80)], ["http://127.0.0.1/", "http://[::1]/"]),
        ([("192.0.2.7", 8000)], ["http://192.0.2.7:8000/"]),
    ],
)
def test_the_addresses_for_this_machine_are_those_that_browsers_open(
    endpoints: list[tuple[str, int]], expected: list[str]
) -> None:
    assert own_urls("http", endpoints, LAPTOP) == expected


def test_without_ipv6_all_addresses_are_those_of_ipv4() -> None:
    assert own_urls("http", [("0.0.0.0", 8000), ("::", 8000)], {"lo": ["127.0.0.1"]}) == ["http://127.0.0.1:8000/"]


def test_an_application_that_is_mounted_in_another_one_offers_none() -> None:
    assert Listening().urls() == []


def test_the_addresses_of_this_machine_are_those_on_which_it_can_listen() -> None:
    for address in reachable(interfaces()):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        socket.create_server((address, 0), family=family).close()
