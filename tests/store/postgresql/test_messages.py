"""Servers with one database understand each other, and leave alone what they do not understand."""

from uuid import UUID

from livecaption.store.postgresql.messages import (
    Message,
    Released,
    RoomAnswer,
    Wanted,
    WantedRoom,
    channel,
    decode,
    encode,
    key,
)
from livecaption.store.room_claims import Outcome
from livecaption.store.store import RoomWish
from tests.support.cases import for_each

SERVER = UUID("f0000000-0000-4000-8000-0000000000ff")
WISH = WantedRoom(RoomWish("pycon", take_over=True, former_hash="hash", resumed="one", window_ms=5), SERVER)


@for_each("message", [Wanted("one", SERVER), Released("one"), WISH, RoomAnswer("pycon", Outcome.REFUSED)])
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    assert decode(encode(message)) == message


@for_each(
    "payload",
    [
        *("", "[]", "1", '{"later": 1}', '{"wanted": 1, "by": "x"}', '{"wanted": "one", "by": "x"}'),
        *('{"wanted_room": {"later": 1}, "by": "x"}', '{"room": "pycon", "outcome": "later"}'),
    ],
)
def test_another_message_is_none(payload: str) -> None:
    assert decode(payload) is None


def test_a_server_has_a_lock_and_a_channel_of_its_own() -> None:
    assert key(SERVER) == -(2**60) + 0x4000
    assert channel(SERVER) == f"livecaption_{SERVER.hex}"
