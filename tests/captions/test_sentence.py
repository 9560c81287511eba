"""A sentence ends at its punctuation."""

from livecaption.captions.sentence import ends_sentence
from tests.support.cases import for_each


@for_each("text", ["", "  ", "Yes.", "Why?", "Stop! ", 'He said "no."', "そうです。", "本当？」", "क्या है।", "أين؟"])
def test_a_sentence_that_is_complete_ends(text: str) -> None:
    assert ends_sentence(text)


@for_each("text", ["And so", "my fellow Americans,", "he said:", "well...", "well…", "そうで", "3.5 a"])
def test_a_phrase_that_goes_on_does_not(text: str) -> None:
    assert not ends_sentence(text)
