"""The name that people share for an event, and its state. Pure.

A room outlasts its sessions, which are its parts. So one link is right before, between and after them.
"""

import re
from enum import Enum

from livecaption.errors import InvalidMessage

MAX_NAME_CHARACTERS = 64
"""The length of a name that fits on a slide; a QR code with it is read across a hall."""
MIN_SECRET_CHARACTERS = 16
"""A secret of 128 random bits has 22 characters in base64url, and one that a person makes up has fewer."""
MAX_SECRET_CHARACTERS = 200
ENDED_AFTER_MS = 3 * 3_600_000
"""Time in ms without a part after which an event is over. Longer than any lunch, and shorter than a night. Longer:
late readers wait for nothing. Shorter: readers leave an event that goes on."""

_NAME = re.compile(rf"(?!\.{{1,2}}\Z)[A-Za-z0-9._-]{{1,{MAX_NAME_CHARACTERS}}}")
"""The characters that no address needs to encode (RFC 3986, 2.3, but `~`). `.` and `..` are steps in a path."""


class RoomState(Enum):
    """The state of a room, for its readers."""

    WAITING = "waiting"  # no part has begun
    LIVE = "live"  # a part runs; its publisher may be away for a moment
    BREAK = "break"  # a part has ended, and another may follow
    ENDED = "ended"  # the publisher has ended it, or none has come back for long


def is_name(name: str) -> bool:
    """Return True if a room can have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Check the name of a room.

    Raises:
        InvalidMessage: a room cannot have it.
    """
    if not is_name(name):
        raise InvalidMessage(f"the name of a room has 1 to {MAX_NAME_CHARACTERS} letters, digits, or characters of ._-")


def check_secret(secret: str) -> None:
    """Check that a publisher secret is none that people guess.

    Raises:
        InvalidMessage: it is too short or too long.
    """
    if not MIN_SECRET_CHARACTERS <= len(secret) <= MAX_SECRET_CHARACTERS:
        raise InvalidMessage(
            f"the secret of a room must have {MIN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS} characters"
        )


def room_state(*, runs: bool, ended: bool, newest_end_ms: int | None, now_ms: int) -> RoomState:
    """Return the state of a room: the first row that holds.

    | a part runs                                  | live    |
    | its publisher has ended it                   | ended   |
    | it has no part                               | waiting |
    | its newest part ended less than 3 h ago      | break   |
    | otherwise                                    | ended   |

    Args:
        runs: whether its newest part runs.
        ended: whether its publisher has ended it, since that part began.
        newest_end_ms: time at which its newest part ended, by the Unix clock; None: it has no part.
        now_ms: the present time, by the same clock.
    """
    if runs:
        return RoomState.LIVE
    if ended:
        return RoomState.ENDED
    if newest_end_ms is None:
        return RoomState.WAITING
    return RoomState.BREAK if now_ms - newest_end_ms < ENDED_AFTER_MS else RoomState.ENDED
