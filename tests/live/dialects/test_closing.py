"""Codes and reasons of a Close."""

from livecaption.errors import Unavailable
from livecaption.live.dialects.closing import close_of
from livecaption.live.state import Ending


def test_an_end_without_an_error_has_a_code_by_its_reason() -> None:
    assert close_of(Ending("stop")) == (1000, "")
    assert close_of(Ending("draining")) == (1001, "the server stops")


def test_an_error_has_its_own_code_and_its_word_as_the_reason() -> None:
    assert close_of(Ending("error", Unavailable("full"))) == (1013, "overloaded")
