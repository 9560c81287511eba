"""A character of the text has the time of the word to which it belongs, also where the text has other words."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.character_times import character_times_ms
from livecaption.events import CaptionWord, Final
from tests.support.cases import for_each
from tests.support.transcripts import final

RIDE = [("ride", 0, 400), ("a", 400, 600), ("maying", 600, 1200), ("today", 5000, 5400)]


def spoken(text: str, words: list[tuple[str, int, int]]) -> Final:
    return final(text, 0, 6000, words=[CaptionWord(*word, 0.9) for word in words])


def test_characters_have_the_times_of_their_words() -> None:
    assert character_times_ms(spoken("I do", [("I", 100, 300), ("do", 400, 900)])) == [(100, 300), *[(400, 900)] * 2]


def test_characters_of_a_final_without_words_share_its_time() -> None:
    assert character_times_ms(final("I do", 1000, 4000)) == [(1000, 2000), (2000, 3000), (3000, 4000)]


@for_each(
    ("text", "replaced"),
    [
        ("ride a may today", []),
        ("Ride a maying today", [(0, 400)]),
        ("ride a mule today", [(600, 800), (800, 1000), (1000, 1200)]),
        ("ride a maying, today", [(600, 1200)]),
    ],
)
def test_one_word_that_is_another_one_takes_no_time_from_the_others(text: str, replaced: list[tuple[int, int]]) -> None:
    times = character_times_ms(spoken(text, RIDE))
    assert len(times) == len("".join(text.split()))
    assert times[-5:] == [(5000, 5400)] * 5
    assert set(replaced) <= set(times)
    assert times[4] == (400, 600)


@given(st.text("ab ", min_size=1).filter(str.strip), st.lists(st.text("ab", max_size=3)), st.integers(0, 7000))
def test_each_character_has_a_time_within_the_final_also_where_the_words_cannot_be(
    text: str, heard: list[str], at_ms: int
) -> None:
    times = character_times_ms(spoken(text, [(word, at_ms - 500 * n, at_ms + 250) for n, word in enumerate(heard)]))
    assert len(times) == len("".join(text.split()))
    assert all(0 <= each <= 6000 for pair in times for each in pair)
