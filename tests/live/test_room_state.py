"""The names and the states of rooms."""

import pytest

from livecaption.errors import InvalidMessage
from livecaption.live.room_state import ENDED_AFTER_MS, RoomState, check_name, check_secret, is_name, room_state
from tests.support.cases import for_each

NOW_MS = 1_770_000_000_000


@for_each("name", ["a", "PyCon-2027", "x_y.z", "0", "...", "pT2xh0c9Qm3v1b7yKfW8eA", "x" * 64])
def test_a_name_is_what_an_address_can_hold_as_it_is(name: str) -> None:
    check_name(name)


@for_each("name", ["", ".", "..", "a b", "a/b", "ä", "a\n", "x" * 65, "a%20b", "~me", "a?b", "a#b"])
def test_all_else_is_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidMessage, match="name of a room"):
        check_name(name)


def test_a_secret_is_none_that_people_guess() -> None:
    check_secret("x" * 16)
    for secret in ("", "x" * 15, "x" * 201):
        with pytest.raises(InvalidMessage, match="secret of a room"):
            check_secret(secret)


@for_each(
    ("runs", "ended", "newest_end_ms", "state"),
    [
        (False, False, None, RoomState.WAITING),
        (True, False, NOW_MS, RoomState.LIVE),
        (False, False, NOW_MS, RoomState.BREAK),
        (False, False, NOW_MS - ENDED_AFTER_MS + 1, RoomState.BREAK),
        (False, False, NOW_MS - ENDED_AFTER_MS, RoomState.ENDED),
        (False, True, NOW_MS, RoomState.ENDED),
        (False, True, None, RoomState.ENDED),
        # A part that runs counts, however long ago it began, and until its last final is out.
        (True, False, NOW_MS - ENDED_AFTER_MS, RoomState.LIVE),
        (True, True, NOW_MS, RoomState.LIVE),
    ],
)
def test_the_state_follows_from_the_parts_the_publisher_and_the_time(
    runs: bool, ended: bool, newest_end_ms: int | None, state: RoomState
) -> None:
    assert room_state(runs=runs, ended=ended, newest_end_ms=newest_end_ms, now_ms=NOW_MS) is state
