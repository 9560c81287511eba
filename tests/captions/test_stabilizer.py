"""What two hypotheses agree on stays."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.stabilizer import Caption, Stabilizer


def captions(*hypotheses: str) -> list[Caption]:
    stabilizer = Stabilizer()
    return [stabilizer.push(text) for text in hypotheses]


def test_the_first_hypothesis_is_all_tentative() -> None:
    assert captions("And so") == [Caption("And so", "")]


def test_words_that_two_hypotheses_agree_on_are_stable() -> None:
    assert captions("And so my", "And so my fellow")[-1] == Caption("And so my fellow", "And so my")


def test_case_and_punctuation_do_not_hinder_agreement_and_the_newer_spelling_is_kept() -> None:
    assert captions("and so my", "And so, my fellow")[-1] == Caption("And so, my fellow", "And so, my")


def test_stable_text_stays_as_it_was_shown_when_a_later_hypothesis_differs() -> None:
    shown = captions("ask not what", "ask not what you", "Asked not what your country")
    assert shown[-1] == Caption("ask not what your country", "ask not what")


def test_a_shorter_hypothesis_takes_nothing_stable_back() -> None:
    assert captions("ask not what", "ask not what", "ask")[-1] == Caption("ask not what", "ask not what")


def test_a_word_that_a_later_hypothesis_puts_in_is_not_shown_twice() -> None:
    shown = captions("And so my fellow", "And so my fellow", "And so my dear fellow Americans")
    assert shown[-1] == Caption("And so my fellow Americans", "And so my fellow")


def test_a_word_that_a_later_hypothesis_leaves_out_costs_none_behind_it() -> None:
    shown = captions("ask me not what", "ask me not what", "ask not what your country")
    assert shown[-1] == Caption("ask me not what your country", "ask me not what")


def test_text_without_spaces_is_stable_character_by_character() -> None:
    assert captions("客観的実", "客観的事実の")[-1] == Caption("客観的事実の", "客観的")


def test_an_empty_hypothesis_shows_what_is_stable() -> None:
    assert captions("one two", "one two", "")[-1] == Caption("one two", "one two")


words = st.lists(st.sampled_from(["a", "b", "B,", "ç.", "実", "的"]), max_size=6).map(" ".join)


@given(st.lists(words, max_size=8))
def test_stable_is_a_prefix_of_its_text_and_of_every_later_text(hypotheses: list[str]) -> None:
    stable = ""
    for caption in captions(*hypotheses):
        assert caption.text.startswith(caption.stable)
        assert caption.stable.startswith(stable)
        stable = caption.stable
