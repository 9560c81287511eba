"""Find the keys that a client shows, in all the forms that clients of any protocol send. Pure.

A client of one protocol may send its key in the form of another, because people configure clients by trying. So each
form counts everywhere, apart from a key in the address.
"""

import base64
import binascii

from livecaption.live.dialects.dialect import Handshake

SCHEMES = ("bearer", "token")
"""The schemes of `Authorization`. Deepgram's clients send `Token`."""
TOKEN_PREFIX = "token."
"""The beginning of a subprotocol that carries a key in base64url."""
PLAIN_PREFIX = "openai-insecure-api-key."
"""The same for a key as it is."""
NAMES_IN_ADDRESS = ("token", "api_key", "key")


def shown_keys(handshake: Handshake) -> list[bytes]:
    """Return everything in headers and subprotocols that may be a key.

    Browsers cannot set a header on a WebSocket, so their keys are subprotocols: `token.<base64url>`,
    `openai-insecure-api-key.<key>`, or a key that follows `token` or `bearer` in the list.
    """
    keys = []
    scheme, _, credentials = handshake.authorization.strip().partition(" ")
    if scheme.lower() in SCHEMES and credentials:
        keys.append(_bytes(credentials.strip()))
    elif scheme and not credentials:
        keys.append(_bytes(scheme))
    if api_key := handshake.headers.get("X-API-Key", "").strip():
        keys.append(_bytes(api_key))
    for before, offered in zip(("", *handshake.subprotocols), handshake.subprotocols, strict=False):
        if before in SCHEMES:
            keys.append(_bytes(offered))
        elif offered.startswith(PLAIN_PREFIX):
            keys.append(_bytes(offered.removeprefix(PLAIN_PREFIX)))
        elif offered.startswith(TOKEN_PREFIX):
            encoded = offered.removeprefix(TOKEN_PREFIX)
            try:
                keys.append(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
            except (binascii.Error, ValueError):
                continue
    return keys


def shown_also_in_address(handshake: Handshake) -> list[bytes]:
    """Return those keys, and those in the address: `?token=`, `?api_key=` and `?key=`.

    An address is kept in histories and logs of proxies. Only protocols whose clients can put a key nowhere else use
    this.
    """
    in_address = [_bytes(handshake.query[name]) for name in NAMES_IN_ADDRESS if handshake.query.get(name)]
    return [*shown_keys(handshake), *in_address]


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
