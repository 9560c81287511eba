"""Captions as a broadcaster sets them: lines, cues and their times, and the roll-up of live text."""

import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.layout import (
    LINE_LENGTHS,
    MAX_CUE_MS,
    MAX_HANG_MS,
    MAX_LINES,
    MIN_CUE_MS,
    MIN_GAP_MS,
    GrowingCues,
    RollUp,
    cues,
)
from livecaption.captions.line_breaking import width
from livecaption.events import CaptionWord, Final
from tests.support.cases import for_each
from tests.support.transcripts import final, transcripts

WORDS = ["I", "a", "the", "of", "and", "we", "captions", "broadcaster,", "Yes.", "No,", "because", "it's", "你好。"]
LENGTHS = st.sampled_from([*LINE_LENGTHS, 2])


def characters(text: str) -> str:
    return "".join(text.split())


def evenly_spoken(words: str, start_ms: int, ms_per_word: int, pauses_ms: dict[int, int] | None = None) -> Final:
    """A final whose words follow each other, with pauses before some of them (by number)."""
    timed = []
    at_ms = start_ms
    for n, word in enumerate(words.split()):
        at_ms += (pauses_ms or {}).get(n, 0)
        timed.append(CaptionWord(word, at_ms, at_ms + ms_per_word, 1.0))
        at_ms += ms_per_word
    return final(words, start_ms, at_ms, words=timed)


@st.composite
def conversations(draw: st.DrawFn) -> list[Final]:
    """Finals as people speak: words of 60 to 600 ms, pauses within and between utterances, some cut for length."""
    words = st.sampled_from(WORDS)
    finals: list[Final] = []
    at_ms = 0
    for _ in range(draw(st.integers(1, 5))):
        at_ms += draw(st.sampled_from([0, 40, 300, 1000, 9000]))
        spoken = draw(st.lists(words, min_size=1, max_size=40))
        pauses_ms = draw(st.dictionaries(st.integers(1, 40), st.integers(100, 3000), max_size=2))
        finals.append(evenly_spoken(" ".join(spoken), at_ms, draw(st.integers(60, 600)), pauses_ms))
        at_ms = finals[-1].end_ms
    return finals


@for_each(
    ("text", "expected"),
    [
        ("Yes.", [["Yes."]]),
        # One line where one is enough.
        ("x" * 18 + " " + "x" * 18, [["x" * 18 + " " + "x" * 18]]),
        # After punctuation, even if the lines are less alike.
        ("When he came home, nobody opened the door to him", [["When he came home,", "nobody opened the door to him"]]),
        # Before conjunctions and prepositions.
        ("We went down to the harbor and saw the ships", [["We went down to the harbor", "and saw the ships"]]),
        ("Nobody ever understood the man from that city", [["Nobody ever understood the man", "from that city"]]),
        # Not between article and noun, though the lines would be more alike.
        ("People everywhere wanted the accident explained", [["People everywhere wanted", "the accident explained"]]),
        # Not between first and last name.
        ("Yesterday reporters met Margaret Thompson again", [["Yesterday reporters met", "Margaret Thompson again"]]),
        # Not between auxiliary or negation and verb.
        ("Somebody today certainly will arrive late again", [["Somebody today certainly", "will arrive late again"]]),
        # The longer line below.
        ("aaaaaaaaaaaaa bbbbbbbbbbbbb ccccccccccccc", [["aaaaaaaaaaaaa", "bbbbbbbbbbbbb ccccccccccccc"]]),
        (
            "And so my fellow Americans, ask not what your country can do for you, "
            "ask what you can do for your country.",
            [
                ["And so my fellow Americans, ask not", "what your country can do for you,"],
                ["ask what you can do for your country."],
            ],
        ),
        # A cue ends with its sentence, though more would fit.
        (
            "He had never been to the city before that day. People there were friendly, but they spoke too quickly.",
            [
                ["He had never been", "to the city before that day."],
                ["People there were friendly,", "but they spoke too quickly."],
            ],
        ),
        # No separate line for punctuation that is written apart.
        ("x" * 37 + " !", [["x" * 37, "!"]]),
        # Full-width characters take two columns.
        ("字" * 20, [["字" * 10, "字" * 10]]),
        (
            "今日は天気がいいので、公園を散歩してから図書館に行きます。",
            [["今日は天気がいいので、", "公園を散歩してから図書館に行きます。"]],
        ),
        # An address that no line can hold.
        ("https://example.org/" + "a" * 30, [["https://example.org/" + "a" * 17, "a" * 13]]),
        # Right to left: in spoken order.
        ("שלום לכולם, אני שמח לראות אתכם כאן היום", [["שלום לכולם,", "אני שמח לראות אתכם כאן היום"]]),
    ],
)
def test_lines_and_cues_end_where_readers_pause(text: str, expected: list[list[str]]) -> None:
    assert [list(cue.lines) for cue in cues([final(text, 0, 70 * len(text))])] == expected


@for_each(
    ("language", "text", "expected"),
    [
        ("de", "Der alte Mann ging langsam zu dem Haus am Ufer", ["Der alte Mann ging langsam", "zu dem Haus am Ufer"]),
        ("fr", "Nous sommes arrivés hier soir dans la maison", ["Nous sommes arrivés hier soir", "dans la maison"]),
        ("es", "Los niños jugaban en silencio cerca de la casa", ["Los niños jugaban", "en silencio cerca de la casa"]),
        ("it", "Il treno arriva domani mattina alla stazione", ["Il treno arriva domani mattina", "alla stazione"]),
        (
            "pt",
            "O menino voltou mais cedo com o irmão mais velho",
            ["O menino voltou mais cedo", "com o irmão mais velho"],
        ),
    ],
)
def test_lines_keep_phrases_together_in_other_languages(language: str, text: str, expected: list[str]) -> None:
    assert [list(cue.lines) for cue in cues([final(text, 0, 4000, language=language)])] == [expected]


@given(transcripts(), LENGTHS)
def test_cues_hold_every_character_once_in_spoken_order(finals: list[Final], length: int) -> None:
    said = "".join(characters(final.text) for final in finals)
    assert "".join(characters("".join(cue.lines)) for cue in cues(finals, length)) == said


@given(transcripts(), LENGTHS)
def test_cues_have_at_most_two_lines_that_are_never_too_long(finals: list[Final], length: int) -> None:
    for cue in cues(finals, length):
        assert 1 <= len(cue.lines) <= MAX_LINES
        assert all(line == line.strip() != "" and width(line) <= length for line in cue.lines)


@given(transcripts() | conversations(), LENGTHS)
def test_cues_are_shown_one_after_the_other_and_leave_no_gap_that_flashes(finals: list[Final], length: int) -> None:
    for cue, following in pairwise(cues(finals, length)):
        gap_ms = following.start_ms - cue.end_ms
        assert gap_ms == 0 or gap_ms >= MIN_GAP_MS


@given(transcripts() | conversations(), LENGTHS)
def test_cues_can_be_read_and_do_not_stay_for_ever(finals: list[Final], length: int) -> None:
    """However impossible the times of the words are."""
    for cue in cues(finals, length):
        assert MIN_CUE_MS <= cue.end_ms - cue.start_ms <= MAX_CUE_MS


@given(conversations(), LENGTHS)
def test_a_cue_comes_with_its_first_word_or_after_the_one_before(finals: list[Final], length: int) -> None:
    starts_ms = [word.start_ms for final in finals for word in final.words or () for _ in word.word]
    previous_end_ms = -1
    n = 0
    for cue in cues(finals, length):
        assert cue.start_ms in (starts_ms[n], previous_end_ms)
        assert cue.start_ms >= starts_ms[n]
        n += len(characters("".join(cue.lines)))
        previous_end_ms = cue.end_ms


@given(conversations(), st.sampled_from(LINE_LENGTHS))
def test_a_cue_goes_when_its_last_word_has_been_said_for_a_while(finals: list[Final], length: int) -> None:
    """Counted from where it is shown, if that is later: it waited for the one before."""
    ends_ms = [word.end_ms for final in finals for word in final.words or () for _ in word.word]
    n = 0
    for cue in cues(finals, length):
        n += len(characters("".join(cue.lines)))
        assert cue.end_ms <= max(ends_ms[n - 1], cue.start_ms) + MAX_HANG_MS


@given(transcripts() | conversations())
def test_no_cue_holds_words_of_two_utterances_with_a_pause_between_them(finals: list[Final]) -> None:
    """Somebody else may speak after a pause."""
    spoken = [final for final in finals if final.text]
    seams = set()
    n = 0
    for before, after in pairwise(spoken):
        n += len(characters(before.text))
        if before.end_ms < after.start_ms:
            seams.add(n)
    edges = set()
    n = 0
    for cue in cues(finals):
        n += len(characters("".join(cue.lines)))
        edges.add(n)
    assert seams <= edges


@given(conversations())
def test_a_transcript_that_ends_early_has_the_same_cues_up_to_its_last_utterances(finals: list[Final]) -> None:
    """Later speech changes no cue of an utterance that a pause separates from it, except the end of its last cue."""
    for n, (before, after) in enumerate(pairwise(finals), start=1):
        if after.start_ms - before.end_ms > MAX_HANG_MS + MAX_CUE_MS:
            early, whole = cues(finals[:n]), cues(finals)
            assert early == whole[: len(early)]


def test_utterances_that_touch_are_set_as_one_text() -> None:
    """A cut for length is ours: it may lie between an article and its noun."""
    made = cues([final("Nobody had expected that the", 0, 2000), final("harbor would be empty.", 2000, 4000)])
    assert [cue.lines for cue in made] == [("Nobody had expected", "that the harbor would be empty.")]


def test_utterances_with_a_pause_between_them_are_not_joined_however_short_they_are() -> None:
    made = cues([final("Really?", 0, 300), final("Yes.", 310, 600)])
    assert [(cue.start_ms, cue.end_ms, cue.lines) for cue in made] == [
        (0, 833, ("Really?",)),
        # It waits until the first one can have been read.
        (833, 1833, ("Yes.",)),
    ]


def test_utterances_in_two_languages_are_set_apart() -> None:
    made = cues([final("Good morning", 0, 2000), final("bonjour", 2000, 4000, language="fr")])
    assert [cue.lines for cue in made] == [("Good morning",), ("bonjour",)]


def test_cues_of_a_final_share_its_time_by_their_characters() -> None:
    """20 words of 4 letters: two cues; they meet at their share of the characters."""
    made = cues([final(" ".join(["abcd"] * 20), 1000, 9000)])
    assert [sum(len(line.split()) for line in cue.lines) for cue in made] == [13, 7]
    assert [(cue.start_ms, cue.end_ms) for cue in made] == [(1000, 6200), (6200, 9000)]


def test_a_pause_within_an_utterance_is_a_pause_of_the_captions() -> None:
    made = cues([evenly_spoken("abcd " * 7 + "efgh " * 7, 1000, 250, pauses_ms={7: 4000})])
    assert [(cue.start_ms, cue.lines) for cue in made] == [
        (1000, (" ".join(["abcd"] * 7),)),
        (6750, (" ".join(["efgh"] * 7),)),
    ]


def test_a_pause_is_one_too_where_the_text_has_another_word_than_the_engine() -> None:
    said = evenly_spoken("abcd " * 7 + "efgh " * 7, 1000, 250, pauses_ms={7: 4000})
    for text in (said.text.replace("abcd", "Abcd", 1), said.text.replace("efgh", "ef", 1)):
        assert [cue.start_ms for cue in cues([replace(said, text=text)])] == [1000, 6750]


def test_a_cue_stays_until_it_can_have_been_read_if_nobody_speaks() -> None:
    """34 columns at 17 a second: 2 s."""
    text = "abcd " * 6 + "abcd"
    assert [(cue.start_ms, cue.end_ms) for cue in cues([final(text, 0, 1500)])] == [(0, 2000)]
    # But not for longer than 1.5 s after it has been said.
    assert [(cue.start_ms, cue.end_ms) for cue in cues([final(text, 0, 100)])] == [(0, 1600)]


@for_each(
    ("next_start_ms", "end_ms"),
    [
        (1500, 1500),  # the next one comes
        (2040, 2040),  # a gap of 40 ms would be a flash
        (2400, 2400),  # as would one of 400 ms
        (2600, 2000),
        (9000, 2000),
    ],
)
def test_a_short_gap_before_the_next_cue_is_closed(next_start_ms: int, end_ms: int) -> None:
    made = cues([final("abcd " * 6 + "abcd", 0, 1499), final("Next.", next_start_ms, next_start_ms + 900)])
    assert (made[0].end_ms, made[1].start_ms) == (end_ms, next_start_ms)


def test_a_gap_that_may_not_be_closed_is_made_long_enough_to_be_seen_as_one() -> None:
    """The first one would stay for more than 7 s, or for more than 1.5 s after its last word."""
    made = cues([evenly_spoken("Well", 0, 7000), final("Next.", 7030, 8000)])
    assert (made[0].end_ms, made[1].start_ms) == (6950, 7030)
    made = cues([final("abcd " * 6 + "abcd", 0, 100), final("Next.", 1630, 2600)])
    assert (made[0].end_ms, made[1].start_ms) == (1550, 1630)


def test_a_word_that_lasts_longer_than_a_cue_may_is_shown_for_seven_seconds() -> None:
    assert [(cue.start_ms, cue.end_ms) for cue in cues([evenly_spoken("Ooooh", 500, 20_000)])] == [(500, 7500)]


def test_slow_speech_is_cut_into_cues_of_at_most_seven_seconds_with_all_their_words() -> None:
    """One word every 3 s: no cue holds so many that its last word comes after it has gone."""
    spoken = evenly_spoken("one two three four five six", 0, 3000)
    for cue in cues([spoken]):
        last = cue.lines[-1].split()[-1]
        assert spoken.words is not None
        assert next(word.start_ms for word in spoken.words if word.word == last) < cue.end_ms


def test_times_of_words_that_cannot_be_do_not_move_a_cue_out_of_its_final() -> None:
    """Models place first words before the speech and last ones behind it."""
    made = cues(
        [final("Hello there", 1000, 3000, words=[CaptionWord("Hello", 0, 500, 1), CaptionWord("there", 600, 9000, 1)])]
    )
    assert [(cue.start_ms, cue.end_ms) for cue in made] == [(1000, 3000)]


def test_times_of_words_that_go_back_move_no_cue_to_before_words_that_were_said_earlier() -> None:
    words = [CaptionWord("abcd", 300 * n, 300 * n + 300, 1.0) for n in range(20)]
    words[13] = CaptionWord("abcd", 10, 4200, 1.0)
    made = cues([final(" ".join(["abcd"] * 20), 0, 6000, words=words)])
    # The 14th word comes with the one before it at the earliest.
    assert [(cue.start_ms, cue.end_ms) for cue in made] == [(0, 3600), (3600, 6000)]


@pytest.mark.parametrize(("pause_ms", "alone"), [(10, False), (5000, True)])
def test_a_word_is_a_cue_of_its_own_only_if_there_is_time_to_read_it(pause_ms: int, alone: bool) -> None:
    """A sentence deserves its own cue, but this one takes 300 ms."""
    spoken = evenly_spoken("abcd " * 13 + "abcd. No.", 0, 300)
    made = cues([spoken, final("Next.", spoken.end_ms + pause_ms, spoken.end_ms + pause_ms + 900)])
    assert (made[1].lines == ("No.",)) is alone
    made = cues([evenly_spoken("No. " + "abcd " * 14, 0, 300)])
    assert made[0].lines != ("No.",)


def test_a_word_that_seems_to_last_until_the_end_does_not_hold_up_the_next_ones() -> None:
    words = [CaptionWord("abcd", 300 * n, 300 * n + 300, 1.0) for n in range(20)]
    shown = cues([final(" ".join(["abcd"] * 20), 0, 6000, words=words)])
    words[3] = CaptionWord("abcd", 900, 6000, 1.0)
    assert cues([final(" ".join(["abcd"] * 20), 0, 6000, words=words)]) == shown


def test_finals_without_duration_still_have_cues_one_after_the_other() -> None:
    made = cues([final("One", 1000, 1000), final("Two", 1000, 1000, utterance=1, language="de")])
    assert [(cue.start_ms, cue.end_ms) for cue in made] == [(1000, 1833), (1833, 2833)]


def test_words_of_a_language_without_spaces_time_its_cues_too() -> None:
    words = [CaptionWord("你", 200 * i, 200 * i + 200, 1.0) for i in range(19)] + [CaptionWord("好", 9000, 9200, 1.0)]
    made = cues([final("你" * 19 + "好", 0, 9200, words=words, language="zh")])
    assert [(cue.start_ms, "".join(cue.lines)) for cue in made] == [(0, "你" * 19), (9000, "好")]


def test_an_hour_of_speech_without_a_pause_is_laid_out_in_seconds() -> None:
    """The time grows with the text, not with its square: 27 times a short one takes 27 times as long, not 729 times."""

    def seconds(n_words: int) -> float:
        finals = [final(" ".join(["captions"] * n_words), 0, 400 * n_words)]
        begun = time.process_time()
        cues(finals)
        return time.process_time() - begun

    seconds(100)
    assert seconds(9000) < 27 * 6 * min(seconds(333) for _ in range(3))


def grow(texts: list[tuple[str, str]], language: str | None = "en", length: int = 37) -> list[list[tuple[str, str]]]:
    roll_up = RollUp(language, length)
    return [roll_up.show(stable, tentative) for stable, tentative in texts]


def spans(revisions: list[tuple[str, str]], length: int) -> list[list[tuple[int, int]]]:
    """Return where the lines of each revision begin and end in its text, counting characters that are no spaces."""
    spans = []
    for (stable, tentative), lines in zip(revisions, grow(revisions, length=length), strict=True):
        end = len(characters(stable + tentative))
        ends = []
        for line in reversed(lines):
            begin = end - len(characters("".join(line)))
            ends.insert(0, (begin, end))
            end = begin
        spans.append(ends)
    return spans


@st.composite
def revisions(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Stable text that only grows, and a tentative tail that is anything each time."""
    words = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9)
    stable: list[str] = []
    versions = []
    for _ in range(draw(st.integers(1, 12))):
        stable += draw(st.lists(words, max_size=5))
        tentative = draw(st.lists(words, max_size=12))
        whole = " ".join([*stable, *tentative])
        n_stable = len(" ".join(stable))
        versions.append((whole[:n_stable], whole[n_stable:]))
    return versions


def test_a_roll_up_shows_the_last_two_lines() -> None:
    text = "Nobody here opened the door when he came home, and so he slept in the car."
    assert grow([(text[:45], text[45:])]) == [[("came home", ", and so he slept in the"), ("", "car.")]]


def test_a_roll_up_of_nothing_shows_nothing() -> None:
    assert grow([("", ""), (" ", "")]) == [[("", "")], [("", "")]]


def test_the_space_between_stable_and_tentative_words_goes_with_the_tentative_ones() -> None:
    assert grow([("And so", " my fellow")]) == [[("And so", " my fellow")]]


def test_words_that_are_shown_do_not_move_down_when_more_are_said() -> None:
    """The article stays where it was read, though a line should not end with it."""
    said = "When he came home, nobody opened the"
    assert grow([(said, ""), (said + " door", "")])[1] == [(said, ""), ("door", "")]


def test_a_line_ends_early_after_punctuation_or_before_a_conjunction() -> None:
    assert grow([("And so, my fellow Americans, ask not", "")]) == [
        [("And so, my fellow Americans,", ""), ("ask not", "")]
    ]
    assert grow([("We all went down to the harbor and saw", "")]) == [
        [("We all went down to the harbor", ""), ("and saw", "")]
    ]
    # But not when much of it is empty.
    assert grow([("And so, my friends, ask not", "")]) == [[("And so, my friends, ask not", "")]]


def test_a_break_stays_when_the_words_around_it_are_revised() -> None:
    """Also when the words behind it would now fit on the line above."""
    first = "I scream for something cold today"
    assert grow([("", first + " darling"), ("", "Ice cream for something cold today darling")])[1] == [
        ("", "Ice cream for something cold today"),
        ("", "darling"),
    ]
    assert grow([("", first + " darling"), ("", first + " my")])[1] == [("", first), ("", "my")]


def test_a_break_goes_when_the_words_before_it_no_longer_fit() -> None:
    first = "I scream for something cold today my"
    revised = "I am screaming for something cold today my"
    assert grow([("", first + " darling"), ("", revised + " darling")])[1] == [
        ("", "I am screaming for something cold"),
        ("", "today my darling"),
    ]


@given(revisions(), LENGTHS)
def test_a_roll_up_shows_the_end_of_the_text_in_at_most_two_lines(versions: list[tuple[str, str]], length: int) -> None:
    for (stable, tentative), lines in zip(versions, grow(versions, length=length), strict=True):
        shown = " ".join("".join(line) for line in lines)
        assert characters(stable + tentative).endswith(characters(shown))
        assert len(lines) <= MAX_LINES
        assert all(width("".join(line)) <= length for line in lines)
        if len(lines) == 1:
            assert characters(shown) == characters(stable + tentative)


@given(revisions(), LENGTHS)
def test_a_roll_up_marks_what_may_still_change(versions: list[tuple[str, str]], length: int) -> None:
    for (_, tentative), lines in zip(versions, grow(versions, length=length), strict=True):
        may_change = characters("".join(line[1] for line in lines))
        assert characters(tentative).endswith(may_change)
        if any(characters(line[0]) for line in lines):
            assert may_change == characters(tentative)


@given(revisions(), LENGTHS)
def test_a_revision_never_moves_the_break_of_a_committed_line(versions: list[tuple[str, str]], length: int) -> None:
    """A line is committed when it and the first word of the next one are stable."""
    committed: set[tuple[int, int]] = set()
    for (stable, _), lines in zip(versions, spans(versions, length), strict=True):
        for begin, end in lines:
            assert all((begin, end) == kept or end <= kept[0] or kept[1] <= begin for kept in committed)
        committed |= {line for line in lines[:-1] if line[1] < len(characters(stable))}


@given(
    st.lists(st.sampled_from(WORDS), min_size=1),
    LENGTHS,
)
def test_words_that_only_follow_each_other_never_move_to_another_line(words: list[str], length: int) -> None:
    versions = [("", " ".join(words[:n])) for n in range(1, len(words) + 1)]
    for before, after in pairwise(spans(versions, length)):
        assert before[-1][0] in [begin for begin, _ in after] or before[-1][1] <= after[0][0]
        assert before[:-1] == [line for line in after if line[1] <= before[-1][0]][-1:] or len(after) == 2


@given(transcripts() | conversations(), LENGTHS)
def test_the_cues_of_a_session_that_goes_on_are_those_that_it_has_at_its_end(finals: list[Final], length: int) -> None:
    growing = GrowingCues(length)
    complete = [cue for each in finals for cue in growing.push(each)]
    assert complete + growing.flush() == cues(finals, length)


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1), min_size=1, max_size=6), LENGTHS)
def test_of_speech_without_a_pause_the_last_utterance_and_a_cue_are_held_back(said: list[list[str]], n: int) -> None:
    growing = GrowingCues(n)
    n_before = n_shown = at_ms = 0
    for words in said:
        spoken = evenly_spoken(" ".join(words), at_ms, 300)
        n_shown += sum(width(characters(line)) for cue in growing.push(spoken) for line in cue.lines)
        assert n_before - n_shown <= MAX_LINES * n
        n_before += width(characters(spoken.text))
        at_ms = spoken.end_ms


def test_a_cue_is_complete_when_somebody_speaks_again_after_a_pause() -> None:
    growing = GrowingCues(37)
    assert growing.push(final("One.", 0, 1000, 0)) == []
    assert growing.push(final("", 1500, 1600, 1)) == []
    assert [cue.lines for cue in growing.push(final("Two,", 3000, 4000, 2))] == [("One.",)]
    assert growing.push(final("three.", 4000, 5000, 3)) == []  # it touches: both may become one cue
    assert [cue.lines for cue in growing.push(final("Four.", 9000, 9500, 4))] == [("Two, three.",)]
