"""The headers of answers to requests that are refused."""

from livecaption.errors import Unauthorized, Unavailable
from livecaption.live.dialects.refusals import JSON, refusal_headers


def test_a_client_gets_the_time_to_come_back_after_in_whole_seconds() -> None:
    assert refusal_headers(Unavailable("full", retry_after_s=2.4)) == {"Content-Type": JSON, "Retry-After": "2"}
    assert refusal_headers(Unavailable("full", retry_after_s=0.2))["Retry-After"] == "1"
    assert "Retry-After" not in refusal_headers(Unavailable("full"))


def test_a_client_without_a_key_gets_the_scheme_of_its_protocol() -> None:
    assert refusal_headers(Unauthorized("a key, please"))["WWW-Authenticate"] == "Bearer"
    assert refusal_headers(Unauthorized("a key, please"), "Token")["WWW-Authenticate"] == "Token"
