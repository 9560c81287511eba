"""Utterances read on as one text."""

import pytest

from livecaption.captions.casing import join_case
from tests.support.cases import for_each


def test_behind_a_full_stop_a_sentence_begins() -> None:
    assert join_case("to achieving the goal", "should commit itself.", continues=True) == "To achieving the goal"


@pytest.mark.parametrize("continues", [True, False])
def test_the_first_text_is_as_it_was_recognized(continues: bool) -> None:
    assert join_case("hello", "", continues=continues) == "hello"


@for_each("text", ["The fields", "And fields", "A field", "With", "Is, as they say, green"])
def test_speech_that_was_cut_in_mid_sentence_goes_on_in_lower_case(text: str) -> None:
    assert join_case(text, "into the woods", continues=True) == text[0].lower() + text[1:]


@for_each("text", ["Westminster", "I am", "NASA", "Will", "1914"])
def test_a_word_that_may_be_a_name_keeps_its_capital(text: str) -> None:
    assert join_case(text, "into the woods", continues=True) == text


def test_after_a_pause_a_capital_is_the_speakers() -> None:
    assert join_case("The fields", "into the woods", continues=False) == "The fields"


def test_an_empty_text_stays_empty() -> None:
    assert join_case("", "into the woods.", continues=True) == ""


def test_text_in_scripts_without_capitals_is_left_alone() -> None:
    assert join_case("これは", "はい。", continues=True) == "これは"
