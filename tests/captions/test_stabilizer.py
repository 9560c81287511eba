"""What hypotheses agree on for a second stays, and the word that was said last waits."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.stabilizer import AGREEMENT_MS, Caption, Stabilizer


def captions(*hypotheses: str, interval_ms: int = AGREEMENT_MS, at_pause: bool = False) -> list[Caption]:
    stabilizer = Stabilizer()
    return [stabilizer.push(text, i * interval_ms, at_pause=at_pause) for i, text in enumerate(hypotheses)]


def test_the_first_hypothesis_is_all_tentative() -> None:
    assert captions("And so my") == [Caption("And so", "")]


def test_the_newest_word_is_kept_back_as_it_may_be_half_a_word() -> None:
    assert [caption.text for caption in captions("And", "And so", "And so my fell")] == ["", "And", "And so my"]


def test_at_a_pause_the_newest_word_is_whole() -> None:
    assert captions("And so", at_pause=True) == [Caption("And so", "")]


def test_words_that_hypotheses_a_second_apart_agree_on_are_stable() -> None:
    assert captions("And so my", "And so my fellow Americans")[-1] == Caption("And so my fellow", "And so my")


def test_hypotheses_that_follow_sooner_must_agree_until_a_second_has_passed() -> None:
    shown = captions("And so my", "And so my fellow", "And so my fellow Americans", interval_ms=500)
    assert [caption.stable for caption in shown] == ["", "", "And so my"]


def test_a_word_that_one_hypothesis_of_the_last_second_lacks_is_not_stable() -> None:
    shown = captions("And so my", "And so I fell", "And so my fellow Americans", interval_ms=500)
    assert shown[-1].stable == "And so"


def test_a_hypothesis_older_than_needed_has_no_say() -> None:
    shown = captions("Ants", "And so my", "And so my fellow", "And so my fellow Americans", interval_ms=500)
    assert shown[-1].stable == "And so my"


def test_a_stable_word_is_shown_though_it_is_the_newest() -> None:
    assert captions("one two", "one two")[-1] == Caption("one two", "one two")


def test_case_and_punctuation_do_not_hinder_agreement_and_the_newer_spelling_is_kept() -> None:
    assert captions("and so my", "And so, my fellow man")[-1] == Caption("And so, my fellow", "And so, my")


def test_stable_text_stays_as_it_was_shown_when_a_later_hypothesis_differs() -> None:
    shown = captions("ask not what", "ask not what you", "Asked not what your country can")
    assert shown[-1] == Caption("ask not what your country", "ask not what")


def test_a_shorter_hypothesis_takes_nothing_stable_back() -> None:
    assert captions("ask not what", "ask not what", "ask")[-1] == Caption("ask not what", "ask not what")


def test_a_word_that_a_later_hypothesis_puts_in_is_not_shown_twice() -> None:
    shown = captions("And so my fellow", "And so my fellow", "And so my dear fellow Americans ask")
    assert shown[-1] == Caption("And so my fellow Americans", "And so my fellow")


def test_a_word_that_a_later_hypothesis_leaves_out_costs_none_behind_it() -> None:
    shown = captions("ask me not what", "ask me not what", "ask not what your country can")
    assert shown[-1] == Caption("ask me not what your country", "ask me not what")


def test_text_without_spaces_is_stable_character_by_character() -> None:
    assert captions("客観的実", "客観的事実の")[-1] == Caption("客観的事実", "客観的")


def test_an_empty_hypothesis_shows_what_is_stable() -> None:
    assert captions("one two", "one two", "")[-1] == Caption("one two", "one two")


words = st.lists(st.sampled_from(["a", "b", "B,", "ç.", "実", "的"]), max_size=6).map(" ".join)


@given(st.lists(words, max_size=8), st.sampled_from([400, 1000]), st.booleans())
def test_stable_is_a_prefix_of_its_text_and_of_every_later_text(
    hypotheses: list[str], interval_ms: int, at_pause: bool
) -> None:
    stable = ""
    for caption in captions(*hypotheses, interval_ms=interval_ms, at_pause=at_pause):
        assert caption.text.startswith(caption.stable)
        assert caption.stable.startswith(stable)
        stable = caption.stable
