"""Word error rates of errors that are made by hand."""

import pytest

from livecaption.evaluation.wer import WordErrors, word_error_rate
from tests.support.cases import for_each


@for_each(
    ("reference", "hypothesis", "expected"),
    [
        ("HE HAD A DOG", "He had a dog.", WordErrors(0, 0, 0, 4)),
        ("he had a dog", "he had the dog", WordErrors(1, 0, 0, 4)),
        ("he had a dog", "he had dog", WordErrors(0, 1, 0, 4)),
        ("he had a dog", "he had a big dog", WordErrors(0, 0, 1, 4)),
        ("he had a dog", "", WordErrors(0, 4, 0, 4)),
        # Two spellings of the same word are no error.
        ("twenty one colours", "21 colors", WordErrors(0, 0, 0, 2)),
        ("", "", WordErrors(0, 0, 0, 0)),
        # Words where there was no speech.
        ("", "Thank you.", WordErrors(0, 0, 2, 0)),
    ],
)
def test_word_error_rate_counts_what_must_change_to_get_the_reference(
    reference: str, hypothesis: str, expected: WordErrors
) -> None:
    assert word_error_rate([reference], [hypothesis]) == expected


def test_word_error_rate_of_several_texts_counts_them_together() -> None:
    """A long text weighs more than a short one."""
    errors = word_error_rate(["one dog", "he had a cat today"], ["one dock", "he had a cat today"])
    assert errors == WordErrors(1, 0, 0, 7)
    assert errors.rate == pytest.approx(1 / 7)


def test_languages_without_spaces_are_compared_by_characters() -> None:
    assert word_error_rate(["你好世界"], ["你好,世間"], language="zh") == WordErrors(1, 0, 0, 4)


def test_other_languages_lose_case_and_punctuation_and_keep_their_letters() -> None:
    assert word_error_rate(["Überall, grün!"], ["überall grun"], language="de") == WordErrors(1, 0, 0, 2)


def test_the_rate_without_a_reference_word_is_unknown() -> None:
    assert WordErrors(insertions=2).rate is None


def test_sums_of_errors_are_the_errors_of_all() -> None:
    assert WordErrors(1, 2, 3, 10) + WordErrors(1, 0, 0, 2) == WordErrors(2, 2, 3, 12)


def test_a_missing_hypothesis_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="lengths must match"):
        word_error_rate(["a", "b"], ["a"])
