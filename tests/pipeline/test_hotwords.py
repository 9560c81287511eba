"""The estimate of how many hotwords are certain to be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.events import HotwordUse
from livecaption.pipeline.hotwords import hotword_use
from livecaption.recognition import MAX_HOTWORD_TOKENS
from tests.support.any_text import any_text


def test_there_is_no_estimate_without_hotwords() -> None:
    assert hotword_use([]) is None


@pytest.mark.parametrize("hotwords", [["Kubernetes"], ["Zaphod Beeblebrox", "livecaption", "Böll", "北京"]])
def test_a_few_hotwords_are_all_used(hotwords: list[str]) -> None:
    assert hotword_use(hotwords) == HotwordUse(len(hotwords), len(hotwords))


def test_of_a_hundred_hotwords_the_first_are_used() -> None:
    use = hotword_use(["Kubernetes"] * 100)
    assert use is not None
    assert use.given == 100
    assert 15 < use.used < 40


def test_a_hotword_that_is_too_long_ends_the_list() -> None:
    assert hotword_use(["one", "Ü" * 100, "two"]) == HotwordUse(3, 1)


@given(st.lists(any_text(30), max_size=30))
def test_those_that_count_have_no_more_than_a_token_a_character(hotwords: list[str]) -> None:
    use = hotword_use(hotwords)
    if use is not None:
        assert 0 <= use.used <= use.given == len(hotwords)
        assert use.used <= MAX_HOTWORD_TOKENS
