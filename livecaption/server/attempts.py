"""Wrong tokens of each address, so that clients that try many are asked to stop. Pure."""

from ipaddress import ip_network

from livecaption.server.forwarded import address_of

WINDOW_S = 60.0
MAX_WRONG = 10
"""Wrong tokens of an address in a minute that are answered with `unauthorized`. More: programs try faster. Fewer:
people who mistype a token must wait."""
MAX_COMPARED = 100
"""Wrong tokens of an address in a minute after which a weak token is compared no more. More: programs find it earlier.
Fewer: devices with an old token sooner keep out those behind the same address."""
MAX_ADDRESSES = 4096
"""Addresses that are counted. Each takes 200 bytes; the one without a wrong token for the longest time is forgotten."""
IPV6_PREFIX = 64
"""Bits of an IPv6 address that name a network. A single machine has all addresses of one."""


class Attempts:
    """The wrong tokens of the last minute, by address."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}  # the start of the minute, and the number; the newest last

    def note(self, address: str, n: int, now_s: float) -> float:
        """Note wrong tokens.

        Args:
            address: the address of the client; empty if it is unknown.
            n: the number of tokens.
            now_s: the monotonic time.

        Returns:
            The time in s for which this address should wait; 0: it need not.
        """
        source = source_of(address)
        began_s, earlier = self._seen.pop(source, (now_s, 0))
        if now_s - began_s >= WINDOW_S:
            began_s, earlier = now_s, 0
        self._seen[source] = (began_s, earlier + n)
        if len(self._seen) > MAX_ADDRESSES:
            del self._seen[next(iter(self._seen))]
        return began_s + WINDOW_S - now_s if earlier >= MAX_WRONG else 0.0

    def are_used_up(self, address: str, now_s: float) -> bool:
        """Return True if nothing more of this address should be compared with a weak token in this minute."""
        began_s, n = self._seen.get(source_of(address), (now_s, 0))
        return n >= MAX_COMPARED and now_s - began_s < WINDOW_S

    def __len__(self) -> int:
        return len(self._seen)


def source_of(text: str) -> str:
    """Return the address, or the network of one of IPv6."""
    address = address_of(text)
    if address is None or address.version == 4:
        return text if address is None else str(address)
    return str(ip_network((int(address), IPV6_PREFIX), strict=False))
