"""Errors of speakers, in turns that are written by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from livecaption.evaluation.speaker_errors import SpeakerErrors, Stretch, assignment, speaker_errors


def said(*stretches: tuple[float, float, str | int | None]) -> list[Stretch]:
    return [Stretch(1000 * start_s, 1000 * end_s, speaker) for start_s, end_s, speaker in stretches]


TRUTH = said((0, 4, "Ada"), (5, 8, "Bob"), (8, 10, "Ada"))


def test_captions_that_agree_have_no_error_with_any_numbers() -> None:
    captions = said((0, 4, 7), (5, 8, 2), (8, 10, 7))
    expected = SpeakerErrors(
        total_ms=9000, named_ms=9000, pure_ms=9000, covered_ms=9000, n_words=3, n_speakers=2, n_found=2
    )
    assert speaker_errors(TRUTH, captions, captions) == expected
    assert expected.error_rate == 0.0


def test_each_kind_of_error_is_counted_where_it_is() -> None:
    captions = said((0, 3, 1), (4, 5, 1), (5, 6, None), (6, 8, 2), (8, 10, 2))
    errors = speaker_errors(TRUTH, captions, [])
    assert (errors.missed_ms, errors.false_ms, errors.unnamed_ms, errors.confused_ms) == (1000, 1000, 1000, 2000)
    assert errors.error_rate == pytest.approx(5 / 9)
    assert (errors.named_ms, errors.pure_ms, errors.covered_ms) == (7000, 5000, 5000)


def test_one_person_with_two_numbers_is_covered_in_part() -> None:
    captions = said((0, 4, 1), (5, 8, 2), (8, 10, 3))
    errors = speaker_errors(TRUTH, captions, [])
    assert (errors.confused_ms, errors.pure_ms, errors.covered_ms, errors.n_found) == (2000, 9000, 7000, 3)


def test_two_people_with_one_number_are_confused() -> None:
    errors = speaker_errors(TRUTH, said((0, 4, 1), (5, 10, 1)), [])
    assert (errors.confused_ms, errors.pure_ms, errors.covered_ms, errors.n_found) == (3000, 6000, 9000, 1)


def test_the_second_of_two_who_speak_at_once_is_missed() -> None:
    both = said((0, 4, "Ada"), (2, 4, "Bob"))
    errors = speaker_errors(both, said((0, 4, 1)), [])
    assert (errors.total_ms, errors.missed_ms, errors.confused_ms) == (6000, 2000, 0)


def test_words_with_another_speaker_or_none_are_wrong_and_words_beside_all_turns_do_not_count() -> None:
    captions = said((0, 4, 1), (5, 8, 2), (8, 10, 1))
    words = said((0, 1, 1), (1, 2, 2), (2, 3, None), (4.4, 4.6, 2), (4.9, 5, 2), (7.9, 8.2, 2), (8.9, 9.1, 1))
    errors = speaker_errors(TRUTH, captions, words)
    assert (errors.n_words, errors.n_wrong_words) == (6, 2)


def test_without_captions_all_is_missed() -> None:
    errors = speaker_errors(TRUTH, [], [])
    assert (errors.total_ms, errors.missed_ms, errors.n_found, errors.error_rate) == (9000, 9000, 0, 1.0)
    assert speaker_errors([], [], []).error_rate == 0.0


@given(arrays(int, st.tuples(st.integers(0, 3), st.integers(0, 4)), elements=st.integers(0, 9)))
def test_no_other_assignment_agrees_more(agreement: np.ndarray) -> None:
    n_rows, n_columns = agreement.shape
    size = max(agreement.shape)
    padded = np.zeros((size, size), int)
    padded[:n_rows, :n_columns] = agreement
    best = max(sum(padded[row, order[row]] for row in range(size)) for order in permutations(range(size)))
    pairs = assignment(agreement)
    assert sum(agreement[pair] for pair in pairs) == best
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
