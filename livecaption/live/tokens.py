"""The two tokens of a session: one for its publisher and, if it is private, one for its readers. Pure.

Only their hashes are kept. The readers' token follows from the publisher's. So a restarted server, which has no token
until a client shows it, can send the publisher both again.
"""

import hashlib
import hmac

from livecaption.errors import Unauthorized


def token_hash(token: str) -> str:
    """Return the SHA-256 in hex. No salt and no stretching: our tokens have 128 random bits, which nobody guesses."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def is_token(shown: str, expected_hash: str) -> bool:
    """Compare a shown token with the hash of the expected one, in constant time."""
    return hmac.compare_digest(token_hash(shown), expected_hash)


def reader_token(publisher_token: str, room: str = "") -> str:
    """Derive the readers' token: 128 bits in hex, from which nobody finds the publisher's.

    `room` is the name of the room; empty: that of a session. So rooms with one secret have different readers.
    """
    purpose = f"reader {room}" if room else "reader"
    return hmac.digest(publisher_token.encode("utf-8", "surrogateescape"), purpose.encode(), "sha256")[:16].hex()


class SessionTokens:
    """The tokens of one session.

    Args:
        resume_hash: hash of the publisher's token.
        reader_hash: hash of the readers' token; None: the session is not private.
        resume: the publisher's token itself, if the server has it.
        room_reader: the readers' token of its room, which is that of the session too; empty: the server does not have
            it; None: the session is no part of a room.

    Attributes:
        reader_hash: the hash of the readers' token, as above.
        resume: the publisher's token; empty until this server has it.
    """

    def __init__(
        self, resume_hash: str, reader_hash: str | None, resume: str = "", room_reader: str | None = None
    ) -> None:
        self._resume_hash = resume_hash
        self.reader_hash = reader_hash
        self.resume = resume
        self._room_reader = room_reader

    @property
    def reader(self) -> str | None:
        """The readers' token; None: they need none, or the server does not have it."""
        if self.reader_hash is None:
            return None
        return (reader_token(self.resume) if self._room_reader is None else self._room_reader) or None

    def is_publisher(self, shown: str) -> bool:
        """Return True if this is the publisher's token."""
        return is_token(shown, self._resume_hash)

    def has_publisher_hash(self, shown_hash: str) -> bool:
        """Return True if this is the hash of the publisher's token, which another server was shown."""
        return hmac.compare_digest(shown_hash, self._resume_hash)

    def check_publisher(self, shown: str) -> None:
        """Check that this is the publisher's token.

        Raises:
            Unauthorized: `wrong_token`.
        """
        if not self.is_publisher(shown):
            raise Unauthorized("this is not the token of the session", code="wrong_token")

    def check_reader(self, shown: str) -> None:
        """Check that a reader with this token, or with an empty one, may read along.

        Raises:
            Unauthorized: `wrong_token`; the session is private.
        """
        check_reader(shown, self.reader_hash)


def check_reader(shown: str, expected_hash: str | None) -> None:
    """Check that a reader with this token, or with an empty one, may read what has this hash; None: it is not private.

    Raises:
        Unauthorized: `wrong_token`.
    """
    if expected_hash is not None and not is_token(shown, expected_hash):
        raise Unauthorized("these captions are private: their reader token is needed", code="wrong_token")
