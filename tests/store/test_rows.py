"""Finals come back from their rows as they went."""

from hypothesis import given

from livecaption.events import CaptionWord, Final
from livecaption.store.rows import final_from_row, final_to_row
from tests.support.transcripts import final, transcripts


@given(transcripts())
def test_a_final_comes_back_as_it_went(finals: list[Final]) -> None:
    assert [final_from_row(final_to_row(each)) for each in finals] == finals


def test_no_words_are_not_the_same_as_words_that_were_not_asked_for() -> None:
    for words in (None, [], [CaptionWord("It's", 0, 300, 0.25)]):
        one = final("It's", words=words)
        assert final_from_row(final_to_row(one)) == one
