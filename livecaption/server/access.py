"""The needs of each route, as a table. Pure. `auth.check_access` enforces it; without a row a route is not added."""

from collections.abc import Iterable
from dataclasses import dataclass

from livecaption.keys import Role


@dataclass(frozen=True, slots=True)
class Access:
    """The needs of a route.

    Attributes:
        role: the role of the key that is needed, if the server has keys. None: none is.
        is_local: whether it is for clients on the server's own machine only, if the server has no keys.
        shows_private: whether something private needs its reader token, or a key with the role `read`.
    """

    role: Role | None = None
    is_local: bool = False
    shows_private: bool = False


OPEN = Access()
PRIVATE = Access(shows_private=True)
PUBLISHING = Access(Role.PUBLISH)
FIGURES = Access(Role.READ)
LISTS = Access(Role.READ, is_local=True)
CHANGES = Access(Role.ADMINISTRATE, is_local=True)

ACCESS: dict[tuple[str, str], Access] = {
    ("PUT", "/v1/rooms/{room}"): PUBLISHING,
    ("GET", "/v1/rooms/{room}"): PRIVATE,
    ("GET", "/v1/rooms/{room}/events"): PRIVATE,
    ("GET", "/v1/rooms/{room}/watch"): PRIVATE,
    ("GET", "/v1/rooms/{room}/transcript.{format}"): PRIVATE,
    ("GET", "/captions"): PRIVATE,
    ("GET", "/v1/rooms/{room}/captions"): PRIVATE,
    ("GET", "/v1/rooms/{room}/captions.m3u8"): PRIVATE,
    ("GET", "/v1/rooms/{room}/captions/{segment}.vtt"): PRIVATE,
    ("GET", "/v1/sessions/{session}"): PRIVATE,
    ("GET", "/v1/sessions/{session}/events"): PRIVATE,
    ("GET", "/v1/sessions/{session}/watch"): PRIVATE,
    ("GET", "/v1/sessions/{session}/transcript.{format}"): PRIVATE,
    # A code of something private contains the reader token, so only that opens it.
    ("GET", "/v1/rooms/{room}/qr.svg"): OPEN,
    ("GET", "/v1/sessions/{session}/qr.svg"): OPEN,
    ("POST", "/v1/audio/transcriptions"): PUBLISHING,
    ("POST", "/v1/audio/translations"): PUBLISHING,
    ("POST", "/v1/listen"): PUBLISHING,
    ("GET", "/v1/models"): PUBLISHING,
    ("GET", "/v1/models/{model}"): PUBLISHING,
    # A sink sends captions to any address, and shows where.
    ("GET", "/v1/rooms/{room}/sinks"): CHANGES,
    ("GET", "/v1/rooms/{room}/sinks/{sink}"): CHANGES,
    ("PUT", "/v1/rooms/{room}/sinks/{sink}"): CHANGES,
    ("DELETE", "/v1/rooms/{room}/sinks/{sink}"): CHANGES,
    ("GET", "/v1/sessions/{session}/sinks"): CHANGES,
    ("GET", "/v1/sessions/{session}/sinks/{sink}"): CHANGES,
    ("PUT", "/v1/sessions/{session}/sinks/{sink}"): CHANGES,
    ("DELETE", "/v1/sessions/{session}/sinks/{sink}"): CHANGES,
    ("GET", "/v1/sessions"): LISTS,
    ("PATCH", "/v1/sessions/{session}"): CHANGES,
    ("DELETE", "/v1/sessions/{session}"): CHANGES,
    # A program that collects figures should need no key that deletes.
    ("GET", "/v1/stats"): FIGURES,
    ("GET", "/metrics"): FIGURES,
    ("GET", "/v1/info"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/"): OPEN,
    ("GET", "/watch/{room}"): OPEN,
    ("GET", "/watch/{room}/"): OPEN,
    ("GET", "/sessions"): OPEN,
    ("GET", "/stats"): OPEN,
    ("GET", "/static"): OPEN,
}
"""The routes, apart from those of publishers' protocols."""


def access_of(method: str, path: str, streams: Iterable[str]) -> Access:
    """Return what a route needs.

    Args:
        path: the path with the names of its parts.
        streams: the paths of the protocols that publishers may speak.

    Raises:
        KeyError: the table does not have it.
    """
    if method == "OPTIONS":  # browsers ask this without a token
        return OPEN
    if path in streams:
        return PUBLISHING
    return ACCESS["GET" if method == "HEAD" else method, path]
