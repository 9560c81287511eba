"""Names of speakers and channels, and finals in pieces of one speaker."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.labels import in_turns, label, n_characters, prefix, speaker_name
from livecaption.captions.layout import cues
from livecaption.events import CaptionWord, Final, Turn
from tests.support.cases import for_each
from tests.support.transcripts import final

NAMES = {2: "Ada"}


@for_each(("speaker", "name"), [(1, "Speaker 1"), (2, "Ada"), (None, "Speaker ?")])
def test_a_speaker_has_a_name_or_a_number_or_is_nobody(speaker: int | None, name: str) -> None:
    assert speaker_name(speaker, NAMES) == name
    assert label(final("One.", turns=[Turn(speaker, "One.", 0, 4000)]), NAMES) == name


def test_a_speaker_comes_before_a_channel_and_without_both_nothing_stands_there() -> None:
    assert label(final("One.", channel=1)) == "Channel 2"
    assert label(final("One.", channel=1, turns=[Turn(2, "One.", 0, 4000)]), NAMES) == "Ada"
    assert label(final("One.")) == prefix("") == ""
    assert prefix("Ada") == "Ada: "


WORDS = [
    CaptionWord(word, 1000 * n, 1000 * n + 900, 0.9, 1 if n < 2 else 2)
    for n, word in enumerate(("One", "two.", "Three", "four."))
]


def test_a_piece_has_the_text_the_times_and_the_words_of_its_turn() -> None:
    turns = [Turn(1, "One two. ", 0, 1950), Turn(2, "Three four.", 2000, 4000)]
    whole = final("One two. Three four.", words=WORDS, turns=turns)
    first, second = in_turns(whole)
    assert first == final("One two.", 0, 1950, words=WORDS[:2], turns=turns[:1])
    assert second == final("Three four.", 2000, 4000, words=WORDS[2:], turns=turns[1:])
    assert [each.words for each in in_turns(final("One two. Three four.", turns=turns))] == [None, None]


def test_a_word_is_in_the_piece_of_its_speaker_where_the_text_is_longer_than_the_words() -> None:
    """Committed words stay where the engine has changed its mind. Two words may begin together."""
    words = [
        CaptionWord("Dont", 0, 500, 0.9, 1),
        CaptionWord("go.", 2000, 2000, 0.9, 1),
        CaptionWord("Yes", 2000, 2300, 0.9, 2),
        CaptionWord("I", 2300, 2500, 0.9, 2),
        CaptionWord("will.", 2500, 3000, 0.9, 2),
    ]
    turns = [Turn(1, "Don't go. ", 0, 2000), Turn(2, "Yes I will.", 2000, 4000)]
    whole = final("Don't go. Yes I will.", words=words, turns=turns)
    assert [piece.words for piece in in_turns(whole)] == [tuple(words[:2]), tuple(words[2:])]
    assert [cue.start_ms for cue in cues([whole])] == [0, 2000]


@for_each("whole", [final("One."), final("", turns=[]), final("One.", turns=[Turn(1, "One.", 0, 4000)])])
def test_a_final_of_one_speaker_is_one_piece(whole: Final) -> None:
    assert in_turns(whole) == [whole]


@given(st.lists(st.text("ab ", min_size=1), min_size=2, max_size=5))
def test_pieces_have_all_words_once(texts: list[str]) -> None:
    turns = [Turn(n, text, 1000 * n, 1000 * n + 1000) for n, text in enumerate(texts)]
    pieces = in_turns(final("".join(texts), words=WORDS, turns=turns))
    assert [word for piece in pieces for word in piece.words or ()] == WORDS
    assert "".join(piece.text for piece in pieces).replace(" ", "") == "".join(texts).replace(" ", "")
    assert sum(n_characters(piece.text) for piece in pieces) == n_characters("".join(texts))
