"""Clients as they are before reverse proxies that the operator trusts.

A proxy appends the address of its own client to `X-Forwarded-For`. Only what a trusted proxy has appended is true, and
everything to the left of it may be the client's invention. So the addresses are read from the right.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from livecaption.server.origins import is_path

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FOR = "X-Forwarded-For"
HOST = "X-Forwarded-Host"
PREFIX = "X-Forwarded-Prefix"
PROTO = "X-Forwarded-Proto"
UNIX_PEER = "unix:"
"""The address of everybody who connects to a Unix socket, and the network of a trusted proxy there."""
REQUEST_ID = "X-Request-Id"
HEADERS = (FOR, HOST, PREFIX, PROTO)
"""The headers of trusted proxies that count."""
OTHER_HEADERS = ("forwarded", "via", "x-real-ip")


PLAIN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""An id of a request that a trusted proxy may set, such as a UUID. Others could be anything, also a token."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client as it would be without trusted proxies before the server.

    Attributes:
        address: its IP address; empty if it is unknown.
        host: the header Host as the client sent it; empty: it sent none.
        scheme: `http` or `https`. A proxy that is not trusted may have ended TLS, so `http` is certain only without it.
        prefix: the path that a trusted proxy has removed, without `/` at its end; mostly empty.
    """

    address: str
    host: str
    scheme: str
    prefix: str = ""


def shows_a_proxy(headers: Iterable[str]) -> bool:
    """Return True if these names of headers have one that reverse proxies set. Browsers set none of them."""
    return any(name.lower().startswith("x-forwarded-") or name.lower() in OTHER_HEADERS for name in headers)


def client_of(peer: str, scheme: str, headers: Mapping[str, str], trusted: Sequence[str]) -> Client:
    """Return the client of a request.

    Headers of a peer that is not trusted change nothing.

    Args:
        peer: the address at the other end of the socket; `UNIX_PEER` if that is a Unix socket; empty: unknown.
        scheme: `http` or `https`, of the socket.
        headers: the headers of the request. One that stands in several lines is joined by commas.
        trusted: networks of trusted proxies.
    """
    host = headers.get("Host", "")
    if not is_trusted(peer, trusted):
        return Client(peer, host, scheme)
    passed = _values(headers, FOR)
    client, n_proxies = _outermost(peer, passed, networks_of(tuple(trusted)))
    path = _said(headers, PREFIX, n_proxies).rstrip("/")
    return Client(
        client,
        _said(headers, HOST, n_proxies) or host,
        _scheme(_said(headers, PROTO, n_proxies) or scheme),
        path if is_path(path) else "",
    )


def request_id_of(peer: str, headers: Mapping[str, str], trusted: Sequence[str]) -> str | None:
    """Return the id that a trusted proxy has given the request; None: there is none that is short and plain."""
    given = headers.get(REQUEST_ID, "")
    return given if is_trusted(peer, trusted) and PLAIN_ID.fullmatch(given) else None


def is_trusted(peer: str, trusted: Sequence[str]) -> bool:
    """Return True if a trusted proxy is at the other end of the socket."""
    return _is_in(address_of(peer), networks_of(tuple(trusted))) or (peer == UNIX_PEER and UNIX_PEER in trusted)


def address_of(text: str) -> Address | None:
    """Return the address in a text, which some proxies write with a port; None: there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))  # without its zone, which may be any text
    return address


@lru_cache(16)
def networks_of(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Return the networks, each in the form `10.0.0.0/8`, or an address. `UNIX_PEER` is none, and left out.

    Raises:
        ValueError: one is no network.
    """
    return tuple(_network(text) for text in texts if text != UNIX_PEER)


def _network(text: str) -> Network:
    """Return the network. One of IPv4 addresses in IPv6 becomes one of IPv4, as `address_of` does with addresses."""
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None or network.prefixlen < 96 else IPv4Network((mapped, network.prefixlen - 96))


def _outermost(peer: str, passed: list[str], networks: Sequence[Network]) -> tuple[str, int]:
    """Return the client of the outermost trusted proxy, and the number of trusted proxies that passed the request on.

    Without a client outside the trusted networks, it is the first one that a proxy has named.
    """
    client = peer
    for n_proxies, text in enumerate(reversed(passed), start=1):
        address = address_of(text)
        client = str(address or "")
        if not _is_in(address, networks):
            return client, n_proxies
    return client, max(1, len(passed))


def _said(headers: Mapping[str, str], name: str, n_proxies: int) -> str:
    """Return what the outermost trusted proxy has set. Some proxies replace a list, others append to it."""
    values = _values(headers, name)
    return values[-min(n_proxies, len(values))] if values else ""


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in headers.get(name, "").split(",") if part.strip()]


def _scheme(text: str) -> str:
    return "https" if text.lower() == "https" else "http"


def _is_in(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)
