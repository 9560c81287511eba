"""The addresses under which other machines of the network reach this server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from livecaption.server.origins import DEFAULT_PORTS

Endpoint = tuple[str, int]
"""Address and port of a listening socket."""

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on that are none to connect to, and those of this machine in their place."""
INTERNAL = (
    *("docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "vethernet"),
    *("cni", "flannel", "cali", "lxc", "lxd", "podman"),
)
"""Beginnings of the names of interfaces between this machine and its own containers or virtual machines."""


@dataclass(slots=True)
class Listening:
    """The sockets of the running server. They are unknown in an application that is mounted in another one.

    Attributes:
        endpoints: the sockets.
        scheme: `http` or `https`.
    """

    endpoints: Sequence[Endpoint] = ()
    scheme: str = "http"

    def urls(self) -> list[str]:
        """Return the addresses of the page for other machines, as of now."""
        return urls(self.scheme, self.endpoints, interfaces()) if self.endpoints else []


def interfaces() -> dict[str, list[str]]:
    """Return the addresses of each network interface that is up."""
    states = psutil.net_if_stats()
    return {
        name: [entry.address for entry in entries]
        for name, entries in psutil.net_if_addrs().items()
        if name in states and states[name].isup
    }


def reachable(found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the addresses that other machines may reach, IPv4 first.

    Loopback, link-local addresses (which need the name of an interface) and networks of containers are left out. So are
    IPv6 addresses of an interface that has an IPv4 address, because people have to read and type them.
    """
    chosen: list[str] = []
    for name, addresses in found.items():
        if name.lower().startswith(INTERNAL):
            continue
        usable = [address for address in addresses if _is_usable(address)]
        chosen += [address for address in usable if ":" not in address] or usable
    return sorted(dict.fromkeys(chosen), key=lambda address: ":" in address)


def urls(scheme: str, endpoints: Sequence[Endpoint], found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the addresses of the page, of those interfaces on which a socket listens.

    Args:
        scheme: `http` or `https`.
        endpoints: the listening sockets; `0.0.0.0` and `::` stand for all addresses of their family.
        found: the addresses of each interface.
    """
    pages: list[str] = []
    for host, port in endpoints:
        if ip_address(host).is_unspecified:
            hosts = [address for address in reachable(found) if (":" in address) == (":" in host)]
        else:
            hosts = [host] if _is_usable(host) else []
        pages += [_page(scheme, each, port) for each in hosts]
    return list(dict.fromkeys(pages))


def own_urls(scheme: str, endpoints: Sequence[Endpoint], found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the addresses of the page for this machine: `0.0.0.0` and `::` are none that browsers open."""
    has_ipv6 = any(LOOPBACK["::"] in addresses for addresses in found.values())
    hosts = [(LOOPBACK.get(host, host), port) for host, port in endpoints if host != "::" or has_ipv6]
    return [_page(scheme, host, port) for host, port in hosts]


def _page(scheme: str, host: str, port: int) -> str:
    shown_port = "" if port == DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{shown_port}/"


def _is_usable(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:  # such as the hardware address of an interface
        return False
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)
