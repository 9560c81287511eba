"""A client with a session's token is accepted; one that has read the store is not."""

import pytest

from livecaption.errors import Unauthorized
from livecaption.live.tokens import SessionTokens, is_token, reader_token, token_hash

TOKEN = "IZ0c7H9dUuoc3pB9p2lVWg"


def test_a_token_is_known_by_its_hash_in_which_it_cannot_be_read() -> None:
    kept = token_hash(TOKEN)
    assert is_token(TOKEN, kept)
    assert TOKEN not in kept


def test_nothing_else_is_the_token_not_even_the_hash() -> None:
    kept = token_hash(TOKEN)
    for shown in ("", TOKEN[:-1], TOKEN + " ", kept, "\u00e4", "\udcff"):
        assert not is_token(shown, kept)


def test_the_readers_token_is_another_one_and_always_the_same() -> None:
    assert reader_token(TOKEN) == reader_token(TOKEN)
    assert reader_token(TOKEN) not in (TOKEN, token_hash(TOKEN), reader_token(TOKEN[:-1]))
    assert len(reader_token(TOKEN)) == 32


def test_the_readers_of_one_room_have_no_token_of_another_one_with_the_same_secret() -> None:
    assert len({reader_token(TOKEN, room) for room in ("", "board", "staff")}) == 3


def test_a_session_accepts_its_publisher_and_of_a_private_one_its_readers() -> None:
    tokens = SessionTokens(token_hash(TOKEN), token_hash(reader_token(TOKEN)), TOKEN)
    tokens.check_publisher(TOKEN)
    tokens.check_reader(reader_token(TOKEN))
    assert tokens.reader == reader_token(TOKEN)
    for check, wrong in ((tokens.check_publisher, reader_token(TOKEN)), (tokens.check_reader, TOKEN)):
        with pytest.raises(Unauthorized) as refusal:
            check(wrong)
        assert refusal.value.code == "wrong_token"


def test_everybody_may_read_a_session_that_is_not_private() -> None:
    tokens = SessionTokens(token_hash(TOKEN), None, TOKEN)
    tokens.check_reader("")
    assert tokens.reader is None


def test_the_readers_token_of_a_part_is_that_of_its_room_or_is_not_there() -> None:
    reader = reader_token("the secret of a room")
    part = SessionTokens(token_hash(TOKEN), token_hash(reader), TOKEN, reader)
    part.check_reader(reader)
    assert part.reader == reader
    # After a restart the server has the publisher's token again, and not the secret of the room.
    assert SessionTokens(token_hash(TOKEN), token_hash(reader), TOKEN, "").reader is None
    assert SessionTokens(token_hash(TOKEN), None, TOKEN, reader).reader is None
