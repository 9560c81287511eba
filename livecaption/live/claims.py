"""Connections without a slot of their own, which have named a session that has one, or its room."""

from collections.abc import Iterator
from contextlib import contextmanager

from livecaption.errors import Unavailable
from livecaption.live.peer import Socket
from livecaption.live.slots import RETRY_AFTER_S


class Claims:
    """The connections that wait for their `start`.

    Args:
        max_claims: connections of one session, at most.
    """

    def __init__(self, max_claims: int) -> None:
        self._max_claims = max_claims
        self._claims: dict[str, list[Socket]] = {}  # by the session they name, the oldest first

    @contextmanager
    def waiting(self, session_id: str, claim: Socket) -> Iterator[None]:
        """Note a connection that has named this session.

        Anybody who knows the id can do so. So only a few wait for their `start` at a time: the newest, of which one may
        be the publisher's.
        """
        claims = self._claims.setdefault(session_id, [])
        claims.append(claim)
        if len(claims) > self._max_claims:
            claims.pop(0).fail(Unavailable("newer connections claim this session", retry_after_s=RETRY_AFTER_S))
        try:
            yield
        finally:
            if claim in claims:
                claims.remove(claim)
            if not claims:
                self._claims.pop(session_id, None)
