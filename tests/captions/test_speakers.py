"""Speakers by their voices, and finals in turns."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.labels import in_turns
from livecaption.captions.speakers import Speakers, highest_speaker, spoken_by
from livecaption.captions.stabilizer import units
from livecaption.events import MAX_SPEAKERS, CaptionWord, Final, Turn
from livecaption.recognition import Hypothesis, Voice, Word

N = 192
WINDOW_MS = 10_000
LONG_MS = 2000


def embedding(person: int, likeness: float = 1.0, other: int = 100) -> np.ndarray:
    """Return a voice with this cosine to the person's own, which is orthogonal to those of all others."""
    vector = np.zeros(N, np.float32)
    vector[person] = likeness
    vector[other] = np.sqrt(1 - likeness**2)
    return vector


def voice(person: int, length_ms: int = LONG_MS, likeness: float = 1.0, start_ms: int = 0) -> Voice:
    return Voice(start_ms, start_ms + length_ms, embedding(person, likeness))


def answer_of(said: str, *parts: tuple[int, int], text: str | None = None) -> Hypothesis:
    """Return the answer for words of 500 ms each. `parts`: a person, and the number of that person's words."""
    words = tuple(Word(word, 500 * n, 500 * n + 400, 0.9) for n, word in enumerate(said.split()))
    voices: list[Voice] = []
    for person, n_words in parts:
        start_ms = voices[-1].end_ms if voices else 0
        voices.append(Voice(start_ms, start_ms + 500 * n_words, embedding(person)))
    return Hypothesis(said if text is None else text, "en", 0.9, 0.0, words, voices=tuple(voices))


def final_of(answer: Hypothesis, text: str | None = None, *, words: bool = False) -> Final:
    """Return the final of an answer, which the rest of the pipeline has given this text."""
    end_ms = WINDOW_MS + 500 * len(answer.words)
    timed = tuple(CaptionWord(w.text, WINDOW_MS + w.start_ms, WINDOW_MS + w.end_ms, 0.9) for w in answer.words)
    return Final(
        0, answer.text if text is None else text, WINDOW_MS, end_ms, "en", 0.9, 300, words=timed if words else None
    )


def turns_of(speakers: Speakers, answer: Hypothesis, text: str | None = None) -> list[tuple[int | None, str]]:
    turns = speakers.attribute(final_of(answer, text), answer, WINDOW_MS).turns
    assert turns is not None
    return [(turn.speaker, turn.text) for turn in turns]


# Numbers


def test_speakers_are_numbered_from_1_in_the_order_in_which_they_first_speak() -> None:
    speakers = Speakers(MAX_SPEAKERS)
    assert [speakers.number(voice(person)) for person in (7, 3, 7, 5, 3)] == [1, 2, 1, 3, 2]
    assert speakers.highest == 3


@pytest.mark.parametrize(
    ("likeness", "length_ms", "number"),
    [
        (0.51, 300, 1),  # alike enough, however short
        (0.49, 1500, 2),  # a new one, if it is long enough
        (0.49, 1499, 1),  # else the nearest
        (0.26, 1499, 1),
        (0.24, 1499, None),  # or nobody
    ],
)
def test_a_voice_is_a_known_one_a_new_one_the_nearest_one_or_nobodys(
    likeness: float, length_ms: int, number: int | None
) -> None:
    speakers = Speakers(MAX_SPEAKERS)
    speakers.number(voice(1))
    assert speakers.number(voice(1, length_ms, likeness)) == number


def test_nobody_speaks_before_the_first_voice_is_long_enough() -> None:
    speakers = Speakers(MAX_SPEAKERS)
    assert speakers.number(voice(1, 1499)) is None
    assert speakers.highest == 0


def test_a_voice_of_a_second_moves_the_mean_and_a_shorter_one_does_not() -> None:
    for length_ms, number in ((1000, 1), (999, 2)):
        speakers = Speakers(MAX_SPEAKERS)
        speakers.number(voice(1))
        for _ in range(20):
            speakers.number(voice(1, length_ms, 0.6))
        assert speakers.number(Voice(0, LONG_MS, embedding(100, other=1))) == number


def test_a_mean_follows_a_person_however_long_the_person_has_spoken() -> None:
    """A mean weighs 60 s at most, so a minute of another sound counts."""
    speakers = Speakers(MAX_SPEAKERS)
    for _ in range(100):
        speakers.number(voice(1, 10_000))
    for _ in range(6):
        assert speakers.number(voice(1, 10_000, 0.55)) == 1
    assert speakers.number(Voice(0, LONG_MS, embedding(100, other=1))) == 1


def test_there_are_no_more_speakers_than_are_expected_and_others_are_the_nearest_or_nobody() -> None:
    speakers = Speakers(2)
    numbers = [speakers.number(voice(person)) for person in (1, 2, 3)]
    assert numbers == [1, 2, None]
    assert speakers.number(voice(2, likeness=0.3)) == 2
    assert speakers.highest == 2


def test_fifty_people_are_fifty_speakers() -> None:
    speakers = Speakers(MAX_SPEAKERS)
    for _ in range(2):
        assert [speakers.number(voice(person)) for person in range(50)] == list(range(1, 51))
    assert speakers.number(voice(60)) is None


def test_after_a_servers_death_everybody_has_a_number_above_those_that_were_given() -> None:
    before = Speakers(2)
    finals = [
        before.attribute(final_of(each), each, WINDOW_MS)
        for each in (answer_of("a b c", (1, 3)), answer_of("d e f", (2, 3)))
    ]
    assert highest_speaker(finals) == 2
    after = Speakers(2, highest_speaker(finals))
    assert after.highest == 2
    # Number 1 may be somebody else. As many as are expected follow again.
    assert [after.number(voice(person)) for person in (2, 1, 3)] == [3, 4, None]


# Words


def test_a_final_is_cut_where_the_speaker_changes_and_the_space_stands_at_the_end_of_a_turn() -> None:
    answer = answer_of("Are you there? Yes, I am. Good morning all.", (1, 3), (2, 3), (1, 3))
    final = Speakers(9).attribute(final_of(answer), answer, WINDOW_MS)
    assert final.turns == (
        Turn(1, "Are you there? ", 10_000, 11_400),
        Turn(2, "Yes, I am. ", 11_500, 12_900),
        Turn(1, "Good morning all.", 13_000, 14_500),
    )


def test_parts_of_one_speaker_are_one_turn() -> None:
    answer = answer_of("one two three four five six", (1, 3), (1, 3))
    assert turns_of(Speakers(9), answer) == [(1, "one two three four five six")]


def test_words_have_the_speaker_of_their_turn() -> None:
    answer = answer_of("one two three four five six", (1, 3), (2, 3))
    words = Speakers(9).attribute(final_of(answer, words=True), answer, WINDOW_MS).words
    assert words is not None
    assert [word.speaker for word in words] == [1, 1, 1, 2, 2, 2]


def test_a_word_between_two_voices_is_that_of_the_nearer_one() -> None:
    answer = answer_of("one two three four five six seven eight", (1, 3), (2, 3))
    later = replace(answer.voices[1], start_ms=2500, end_ms=4000)
    assert turns_of(Speakers(9), replace(answer, voices=(answer.voices[0], later))) == [
        (1, "one two three four "),
        (2, "five six seven eight"),
    ]


def test_a_text_whose_words_were_respelled_is_cut_by_counting() -> None:
    answer = answer_of("the colour of it and the taste", (1, 4), (2, 3))
    assert turns_of(Speakers(9), answer, "The color of it and the taste") == [
        (1, "The color of it "),
        (2, "and the taste"),
    ]


def test_a_text_that_has_other_words_than_the_engine_timed_is_one_turn_of_the_one_who_speaks_longest() -> None:
    answer = answer_of("one two three four five six seven", (1, 3), (2, 4))
    speakers = Speakers(9)
    assert len(turns_of(speakers, answer)) == 2
    assert turns_of(speakers, answer, "one two three four five six") == [(2, "one two three four five six")]
    without_times = replace(answer, words=())
    assert turns_of(speakers, without_times) == [(2, "one two three four five six seven")]
    other_words = replace(answer, text="one two three four five six seven eight")
    assert turns_of(speakers, other_words) == [(2, "one two three four five six seven eight")]


def test_nobody_has_a_number_that_no_turn_shows() -> None:
    """A later server has the turns alone, and would give it to somebody else."""
    speakers = Speakers(9)
    answer = answer_of("one two three four five six seven", (1, 3), (2, 4))
    final = speakers.attribute(final_of(answer, "one two three four five six", words=True), answer, WINDOW_MS)
    assert [turn.speaker for turn in final.turns or ()] == [1]
    assert [word.speaker for word in final.words or ()] == [None] * 3 + [1] * 4
    assert speakers.highest == 1
    assert turns_of(speakers, answer) == [(2, "one two three "), (1, "four five six seven")]


def test_the_engine_may_split_words_where_the_text_has_no_space() -> None:
    """Whisper's tokenizer has a word of its own for a percent sign."""
    answer = answer_of("it is 3 % of all we sell", (1, 4), (2, 4), text="it is 3% of all we sell")
    assert turns_of(Speakers(9), answer) == [(1, "it is 3% "), (2, "of all we sell")]


def test_words_that_are_one_in_the_text_have_one_speaker() -> None:
    """Another voice was nearest to the percent sign alone. A turn would be cut there, without its other words."""
    answer = answer_of("it is 3 % of all we sell", (1, 3), (2, 1), (1, 2), (2, 4), text="it is 3% of all we sell")
    speakers = Speakers(9)
    assert [speakers.number(voice(person)) for person in (1, 2)] == [1, 2]
    final = speakers.attribute(final_of(answer, words=True), answer, WINDOW_MS)
    assert [(piece.text, " ".join(word.word for word in piece.words or ())) for piece in in_turns(final)] == [
        ("it is 3% of all", "it is 3 % of all"),
        ("we sell", "we sell"),
    ]


def test_a_text_without_spaces_is_cut_between_its_characters() -> None:
    answer = answer_of("你 们 好 吗 我 们 很 好", (1, 4), (2, 4), text="你们好吗我们很好")
    assert turns_of(Speakers(9), answer) == [(1, "你们好吗"), (2, "我们很好")]


def test_a_final_without_voices_is_one_turn_of_nobody() -> None:
    answer = answer_of("one two three")
    assert turns_of(Speakers(9), answer) == [(None, "one two three")]
    assert Speakers(9).attribute(final_of(answer), None, WINDOW_MS).turns == (
        Turn(None, "one two three", 10_000, 11_500),
    )


def test_a_final_without_words_has_no_turn_and_makes_nobody_a_speaker() -> None:
    """Music may have a voice, and no words."""
    speakers = Speakers(9)
    music = answer_of("la la la la", (1, 4))
    assert speakers.attribute(final_of(music, ""), music, WINDOW_MS).turns == ()
    assert speakers.highest == 0


def test_a_channel_that_is_kept_apart_is_one_speaker() -> None:
    final = final_of(answer_of("one two"), words=True)
    said_by = spoken_by(final, 2)
    assert said_by.turns == (Turn(2, "one two", 10_000, 11_000),)
    assert [word.speaker for word in said_by.words or ()] == [2, 2]
    assert spoken_by(replace(final, text=""), 2).turns == ()


def test_times_of_turns_are_in_order_although_words_overlap() -> None:
    answer = answer_of("one two three four five six", (1, 3), (2, 3))
    words = (*answer.words[:2], replace(answer.words[2], end_ms=1600), *answer.words[3:])
    turns = Speakers(9).attribute(final_of(answer), replace(answer, words=words), WINDOW_MS).turns
    assert turns == (Turn(1, "one two three ", 10_000, 11_500), Turn(2, "four five six", 11_500, 13_000))


# For all finals


SAID = st.lists(
    st.sampled_from(["Hello", "there.", "你好", "3%", "don't", "I", "—", "Ünï", "한국어", "x, y"]), max_size=12
).map(" ".join)
PARTS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), max_size=5)
ANSWERS = st.lists(st.tuples(SAID, PARTS), max_size=8)


@given(answers=ANSWERS, most=st.integers(1, MAX_SPEAKERS), text=st.one_of(st.none(), SAID))
def test_the_texts_of_all_turns_are_the_text_and_their_times_are_in_order(
    answers: list[tuple[str, list[tuple[int, int]]]], most: int, text: str | None
) -> None:
    speakers = Speakers(most)
    finals = []
    for said, parts in answers:
        answer = answer_of(said, *parts)
        final = speakers.attribute(final_of(answer, text), answer, WINDOW_MS)
        finals.append(final)
        assert speakers.highest == highest_speaker(finals)
        assert final.turns is not None
        assert "".join(turn.text for turn in final.turns) == final.text
        times = [at_ms for turn in final.turns for at_ms in (turn.start_ms, turn.end_ms)]
        assert times == sorted(times)
        assert not times or (times[0], times[-1]) == (final.start_ms, final.end_ms)
        said_by = {turn.speaker for turn in final.turns} - {None}
        assert said_by <= set(range(1, most + 1))
        assert all(units(turn.text) for turn in final.turns)


@given(answers=ANSWERS)
def test_a_speaker_does_not_depend_on_what_follows(answers: list[tuple[str, list[tuple[int, int]]]]) -> None:
    def attributed(of: Sequence[tuple[str, list[tuple[int, int]]]]) -> list[Final]:
        speakers = Speakers(9)
        return [
            speakers.attribute(final_of(answer), answer, WINDOW_MS)
            for answer in (answer_of(said, *parts) for said, parts in of)
        ]

    whole = attributed(answers)
    for n in range(len(answers)):
        assert attributed(answers[:n]) == whole[:n]


def test_no_voice_is_in_the_repr_of_anything() -> None:
    answer = answer_of("one two three", (1, 3))
    speakers = Speakers(9)
    final = speakers.attribute(final_of(answer), answer, WINDOW_MS)
    for each in (answer, vars(speakers), final):
        assert "embedding" not in repr(each)
        assert "array" not in repr(each)
