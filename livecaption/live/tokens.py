"""The two tokens of a session: its publisher's, and of a private one its readers'. Pure.

Only their hashes are kept. The readers' token follows from the publisher's. So a restarted server, which knows no token
until a client shows it, can send the publisher both again.
"""

import hashlib
import hmac


def token_hash(token: str) -> str:
    """SHA-256 in hex. No salt and no stretching: our tokens have 128 random bits, which nobody guesses."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def is_token(shown: str, expected_hash: str) -> bool:
    """Whether what somebody shows is the token of this hash. The answer's time tells nothing."""
    return hmac.compare_digest(token_hash(shown), expected_hash)


def reader_token(resume_token: str) -> str:
    """128 bits in hex, from which nobody finds the publisher's token."""
    return hmac.digest(resume_token.encode("utf-8", "surrogateescape"), b"reader", "sha256")[:16].hex()
