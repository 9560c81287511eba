"""Keys in all the forms that clients of any protocol send."""

from livecaption.live.dialects.dialect import Handshake
from livecaption.live.dialects.keys import shown_also_in_address, shown_keys


def test_keys_are_shown_in_headers() -> None:
    assert shown_keys(Handshake(authorization="Bearer one ")) == [b"one"]
    assert shown_keys(Handshake(authorization="token one")) == [b"one"]
    assert shown_keys(Handshake(authorization="one")) == [b"one"]
    assert shown_keys(Handshake(headers={"X-API-Key": " one "})) == [b"one"]
    assert shown_keys(Handshake(authorization="Bearer one", headers={"X-API-Key": "two"})) == [b"one", b"two"]


def test_another_scheme_shows_no_key() -> None:
    assert shown_keys(Handshake(authorization="Basic one")) == []
    assert shown_keys(Handshake(authorization="Bearer")) == [b"Bearer"], "it may be a bare key"


def test_keys_are_shown_in_subprotocols() -> None:
    assert shown_keys(Handshake(subprotocols=("livecaption.v1", "token.dHdv", "token.a"))) == [b"two"]
    assert shown_keys(Handshake(subprotocols=("realtime", "openai-insecure-api-key.one"))) == [b"one"]
    assert shown_keys(Handshake(subprotocols=("token", "one", "x-deepgram-session-id", "5"))) == [b"one"]
    assert shown_keys(Handshake(subprotocols=("bearer", "one"))) == [b"one"]
    assert shown_keys(Handshake(subprotocols=("token",))) == []


def test_a_key_in_the_address_counts_only_where_the_protocol_has_no_other_place() -> None:
    query = {"token": "one", "api_key": "two", "key": "three", "access_token": "four"}
    assert shown_keys(Handshake(query)) == []
    assert shown_also_in_address(Handshake(query, "Bearer zero")) == [b"zero", b"one", b"two", b"three"]
    assert shown_also_in_address(Handshake({"token": ""})) == []


def test_a_key_that_is_no_valid_text_is_compared_byte_by_byte() -> None:
    assert shown_keys(Handshake(authorization="Bearer \udcff")) == [b"\xff"]
