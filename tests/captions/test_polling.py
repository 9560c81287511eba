"""Programs that poll get each word once, in lines, from any position."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions import polling
from livecaption.captions.polling import CHARACTERS, Line, Texts
from livecaption.captions.transcript import settled_in_track
from livecaption.events import Final, TranslatedText, Turn
from tests.support.cases import for_each

BEGAN_AT_MS = 1_800_000_000_000
SAID = "Five score years ago, a great American, in whose symbolic shadow we stand today."


def final(text: str, end_ms: int = 5_000, utterance: int = 0, language: str | None = "en") -> Final:
    return Final(utterance, text, end_ms - 1000, end_ms, language, 0.9, 300)


Parts = Sequence[tuple[int, Sequence[Final]]]


def next_line(parts: Parts, position: int, length: int) -> Line:
    return polling.next_line([(began_at_ms, Texts(finals)) for began_at_ms, finals in parts], position, length)


def newest_position(parts: Parts) -> int:
    return polling.newest_position([(began_at_ms, Texts(finals)) for began_at_ms, finals in parts])


def polled(parts: Parts, length: int = 32, position: int = 0) -> list[Line]:
    found = []
    while (line := next_line(parts, position, length)).content:
        assert line.position > position
        found.append(line)
        position = line.position
    assert line.position == position
    return found


def test_a_line_ends_before_the_word_that_is_too_much() -> None:
    contents = [line.content for line in polled([(BEGAN_AT_MS, [final(SAID)])])]
    assert contents == ["Five score years ago, a great ", "American, in whose symbolic ", "shadow we stand today. "]


def test_a_line_ends_with_its_utterance() -> None:
    parts = [(BEGAN_AT_MS, [final("One."), final("Two.", 9_000)]), (BEGAN_AT_MS + 60_000, [final("Three.")])]
    assert [line.content for line in polled(parts)] == ["One. ", "Two. ", "Three. "]


def test_a_line_has_the_language_of_its_utterance() -> None:
    assert [line.language for line in polled([(BEGAN_AT_MS, [final("Ja.", language=None)])])] == [""]
    assert polled([(BEGAN_AT_MS, [final("Ja.", language="de")])])[0].language == "de"


def test_a_line_begins_with_the_name_of_a_speaker_where_another_one_speaks_and_ends_with_the_turn() -> None:
    first = replace(
        final("Are we all here? Nearly."), turns=(Turn(1, "Are we all here? ", 0, 1), Turn(2, "Nearly.", 1, 2))
    )
    second = replace(final("Bob is late.", 7_000, 1), turns=(Turn(2, "Bob is late.", 1, 2),))
    third = replace(final("Then begin.", 9_000, 2), turns=(Turn(1, "Then begin.", 1, 2),))
    parts = [(BEGAN_AT_MS, [first, second, third])]
    assert [line.content for line in polled(parts)] == [
        "Speaker 1: Are we all here? ",
        "Speaker 2: Nearly. ",
        "Bob is late. ",
        "Speaker 1: Then begin. ",
    ]


def test_a_name_that_is_given_later_moves_no_position() -> None:
    said = replace(final(SAID), turns=(Turn(1, SAID, 0, 1),))
    named = Texts()
    named.push(said, {1: "A very long name of somebody"})
    before = next_line([(BEGAN_AT_MS, [said])], 0, 32)
    after = polling.next_line([(BEGAN_AT_MS, named)], 0, 32)
    assert before.content.removeprefix("Speaker 1: ") == after.content.removeprefix("A very long name of somebody: ")
    assert before.position == after.position


def test_a_position_is_exact_in_javascript() -> None:
    in_2100 = 4_102_444_800_000
    assert in_2100 * CHARACTERS > 2**53  # it is exact until 2039
    assert newest_position([(BEGAN_AT_MS + 300 * 24 * 3_600_000, [final(SAID)])]) < 2**53


def test_the_newest_position_is_behind_everything() -> None:
    parts = [(BEGAN_AT_MS, [final("One."), final("", 6_000), final("Two.", 9_000)])]
    assert polled(parts, position=newest_position(parts)) == []
    assert newest_position([]) == 0


def test_a_position_stays_right_when_the_earlier_parts_are_gone() -> None:
    first, second = (BEGAN_AT_MS, [final("One.")]), (BEGAN_AT_MS + 60_000, [final("Two.")])
    position = next_line([first], 0, 32).position
    assert [line.content for line in polled([second], position=position)] == ["Two. "]
    assert [line.content for line in polled([first, second], position=position)] == ["Two. "]


def test_two_finals_that_end_together_are_two() -> None:
    parts = [(BEGAN_AT_MS, [final("One."), replace(final("Two."), channel=1), final("Three.", 4_000)])]
    assert [line.content for line in polled(parts)] == ["One. ", "Two. ", "Three. "]


@for_each("length", [1, 5, 32, 200])
def test_a_word_that_is_longer_than_a_line_is_cut_without_a_space(length: int) -> None:
    lines = polled([(BEGAN_AT_MS, [final("字幕" * 20)])], length)
    assert max(len(line.content.rstrip()) for line in lines) <= length
    assert "".join(line.content for line in lines) == "字幕" * 20 + " "


def test_a_turn_without_spaces_ends_with_one() -> None:
    said = replace(final("你好。你好！"), turns=(Turn(1, "你好。", 0, 1), Turn(2, "你好！", 1, 2)))
    contents = [line.content for line in polled([(BEGAN_AT_MS, [said])])]
    assert contents == ["Speaker 1: 你好。 ", "Speaker 2: 你好！ "]


@given(st.lists(st.lists(st.text("abc.,é", min_size=1, max_size=12), max_size=20), max_size=5), st.integers(12, 60))
def test_every_word_comes_once(said: list[list[str]], length: int) -> None:
    finals = [final(" ".join(words), 5_000 + n, n) for n, words in enumerate(said)]
    lines = polled([(BEGAN_AT_MS, finals)], length)
    assert "".join(line.content for line in lines).split() == [word for words in said for word in words]
    assert all(len(line.content.rstrip()) <= length for line in lines)


SEPARATE = [
    Final(1, "aaa", 8_000, 10_000, "en", 0.9, 300, channel=0),
    Final(0, "bbb", 5_000, 12_000, "en", 0.9, 300, channel=1),
]


def test_finals_of_separate_channels_have_one_order_live_and_stored() -> None:
    for finals in (SEPARATE, SEPARATE[::-1]):
        settled = settled_in_track(finals, None, is_over=True)
        assert [line.content for line in polled([(BEGAN_AT_MS, settled)])] == ["aaa ", "bbb "]


def test_a_final_is_held_back_while_one_that_ends_earlier_may_come() -> None:
    bbb = SEPARATE[1:]
    assert settled_in_track(bbb, None, is_over=False, open_since_ms=8_000) == []
    assert settled_in_track(bbb, None, is_over=False, open_since_ms=12_000) == bbb
    assert settled_in_track(bbb, None, is_over=False) == bbb
    mixed = [replace(bbb[0], channel=None)]
    assert settled_in_track(mixed, None, is_over=False, open_since_ms=8_000) == mixed


def test_a_translation_is_waited_for_in_its_own_channel() -> None:
    in_german = replace(SEPARATE[1], translations=(TranslatedText("de", "BBB"),))
    assert settled_in_track([SEPARATE[0], in_german], "de", is_over=False) == []
    finals = settled_in_track([replace(SEPARATE[0], channel=1), in_german], "de", is_over=False)
    assert [final.text for final in finals] == ["aaa", "BBB"]


@given(st.permutations(range(12)))
def test_settled_finals_only_grow(order: list[int]) -> None:
    """Utterances of three channels overlap; the later one begins, the earlier it ends. Finals come in any order."""
    starts_ms = [n // 3 * 5_000 + n % 3 * 1_000 for n in range(12)]
    said = [
        Final(n, f"{n}.", start_ms, start_ms + 3_500 - n % 3 * 1_400, "en", 0.9, 300, channel=n % 3)
        for n, start_ms in enumerate(starts_ms)
    ]
    whole = settled_in_track(said, None, is_over=True)
    for n in range(len(order)):
        waiting = [said[number].start_ms for number in order[n:]]
        now = settled_in_track([said[number] for number in order[:n]], None, is_over=False, open_since_ms=min(waiting))
        assert now == whole[: len(now)]
