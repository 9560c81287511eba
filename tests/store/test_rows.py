"""Finals come back from their rows as they went."""

import json

import pytest
from hypothesis import given

from livecaption.events import CaptionWord, Final, Turn
from livecaption.store.rows import final_from_row, final_to_row
from tests.support.transcripts import final, transcripts


@given(transcripts())
def test_a_final_comes_back_as_it_went(finals: list[Final]) -> None:
    assert [final_from_row(final_to_row(each)) for each in finals] == finals


def test_no_words_are_not_the_same_as_words_that_were_not_asked_for() -> None:
    for words in (None, [], [CaptionWord("It's", 0, 300, 0.25)]):
        one = final("It's", words=words)
        assert final_from_row(final_to_row(one)) == one


@pytest.mark.parametrize(
    "turns", [[], [Turn(2, "It's late. ", 0, 900), Turn(None, "Ü 世界 ", 900, 1200), Turn(1, "No.", 1200, 4000)]]
)
def test_turns_come_back_with_their_texts_which_are_not_stored_twice(turns: list[Turn]) -> None:
    text = "".join(turn.text for turn in turns)
    one = final(text, words=[CaptionWord("It's", 0, 300, 0.25, 2), CaptionWord("late.", 300, 600, 0.5)], turns=turns)
    row = final_to_row(one)
    assert final_from_row(row) == one
    assert row[-1] == json.dumps([[t.speaker, len(t.text), t.start_ms, t.end_ms] for t in turns], separators=(",", ":"))
