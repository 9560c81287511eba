"""Words that hypotheses agree on for a second stay, and the newest word waits."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.stabilizer import AGREEMENT_MS, Caption, Stabilizer
from livecaption.evaluation.latency import plain_words


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


def test_a_hypothesis_older_than_needed_does_not_count() -> None:
    shown = captions("Ants", "And so my", "And so my fellow", "And so my fellow Americans", interval_ms=500)
    assert shown[-1].stable == "And so my"


def test_a_stable_word_is_shown_though_it_is_the_newest() -> None:
    assert captions("one two", "one two")[-1] == Caption("one two", "one two")


def test_in_noise_nothing_new_is_stable_and_what_was_stable_stays() -> None:
    stabilizer = Stabilizer()
    for at_ms in (0, 1000):
        stabilizer.push("one two", at_ms)
    for at_ms in range(2000, 9000, 500):  # for longer than a word may differ each time
        assert stabilizer.push("one two three four", at_ms, noisy=True) == Caption("one two three", "one two")
    assert stabilizer.push("one two three four", 9000) == Caption("one two three four", "one two three four")


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


def test_one_word_that_keeps_changing_does_not_take_back_all_behind_it() -> None:
    shown = captions(
        "a vainly rang the bell", "a mainly rang the bell of the", "a vainly rang the bell of the", interval_ms=400
    )
    assert [caption.text for caption in shown] == [
        "a vainly rang the",
        "a vainly rang the bell of",
        "a vainly rang the bell of",
    ]


def test_a_word_that_differs_in_two_hypotheses_in_a_row_is_changed() -> None:
    shown = captions(
        "a vainly rang the bell", "a mainly rang the bell", "a mainly rang the bell of the", interval_ms=400
    )
    assert [caption.text for caption in shown] == [
        "a vainly rang the",
        "a vainly rang the",
        "a mainly rang the bell of",
    ]


def test_a_word_too_many_goes_when_two_hypotheses_in_a_row_lack_it() -> None:
    shown = captions("one and two three x", "one two three x", "one two three x", interval_ms=400)
    assert [caption.text for caption in shown] == ["one and two three", "one and two three", "one two three"]


def test_the_end_of_the_text_is_always_news() -> None:
    shown = captions("we will be more x", "we will bring mankind x", interval_ms=400)
    assert shown[-1].text == "we will bring mankind"


def test_a_final_that_begins_with_what_is_stable_is_taken_as_it_is() -> None:
    assert final_after("ask not", "Ask, not what your country") == "Ask, not what your country"


def test_a_final_that_makes_more_of_the_last_stable_word_keeps_that_word() -> None:
    assert final_after("she would ride a may", "she would ride a maying into the woods") == (
        "she would ride a may into the woods"
    )


def test_a_final_of_which_nothing_is_left_keeps_what_is_stable() -> None:
    assert final_after("one two", "") == "one two"


def final_after(stable: str, final: str) -> str:
    stabilizer = Stabilizer()
    for window_end_ms in (0, AGREEMENT_MS):
        stabilizer.push(stable, window_end_ms)
    return stabilizer.final(final)


def test_a_number_is_the_same_in_words_and_in_digits() -> None:
    assert captions("chapter twelve", "chapter 12 of")[-1] == Caption("chapter 12", "chapter 12")


def spelt(*names: str) -> list[str]:
    """Return the stable text for each spelling of a name. The spellings are a second apart."""
    return [caption.stable for caption in captions(*(f"queen {name} called to her knights" for name in names))]


def test_a_name_that_is_spelt_differently_each_time_holds_up_the_words_behind_it_for_three_seconds() -> None:
    *before, stable = spelt("Gwen", "Guin", "Gwyn", "Gwen", "Quin", "Gwen")
    assert before == ["", "queen", "queen", "queen", "queen"]
    assert stable == "queen Gwen called to her knights"


def test_it_holds_them_up_while_readers_see_another_spelling() -> None:
    assert spelt("Gwen", "Guin", "Gwyn", "Quin", "Gwin")[-1] == "queen"


def test_two_doubtful_words_in_a_row_are_held_up_no_longer_than_one() -> None:
    assert spelt("a b", "c d", "e f", "g h", "a b")[-1] == "queen a b called to her knights"


def test_three_doubtful_words_in_a_row_are_not_stable_before_the_final() -> None:
    assert spelt("a b c", "d e f", "g h i", "j k l", "a b c")[-1] == "queen"


def test_one_word_behind_the_doubtful_one_may_agree_by_chance() -> None:
    names = ["Gwen", "Guin", "Gwyn", "Quin", "Gwenn", "Gwin"]
    hypotheses = [f"queen {name} called to her knights" for name in names]
    hypotheses += ["queen Guinn called all men", "queen Gwen called her men", "queen Gwen called her men"]
    assert captions(*hypotheses, interval_ms=500)[-1].stable == "queen"


def test_a_loop_is_not_stable_because_another_word_came_before_it() -> None:
    assert captions(*["go go go go go"] * 4, *["oh go go go go go"] * 4)[-1].stable == "go go"


def test_a_loop_is_not_stable_beyond_its_first_repetition() -> None:
    assert captions("no no no no no", "no no no no no")[-1].stable == "no no"
    assert captions(*["a b a b a b a b"] * 2)[-1].stable == "a b a b"


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


@given(st.lists(words, max_size=6), words)
def test_a_final_begins_with_the_words_that_are_stable(hypotheses: list[str], final: str) -> None:
    stabilizer = Stabilizer()
    stable = [stabilizer.push(text, i * AGREEMENT_MS).stable for i, text in enumerate(hypotheses)]
    plain = plain_words(stabilizer.final(final))
    assert plain[: len(plain_words(stable[-1] if stable else ""))] == plain_words(stable[-1] if stable else "")
