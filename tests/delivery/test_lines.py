"""A service that takes nothing back gets each word once: full lines while they are spoken, the rest with the final."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.line_breaking import width
from livecaption.captions.speakers import spoken_by
from livecaption.delivery.lines import Lines, Text
from livecaption.events import Event, Final, Partial, Room, RoomPart, Snapshot, SpeakerName, SpeakerNamed, Turn
from tests.support.cases import for_each

SAID = "And so my fellow Americans ask not what your country can do for you, ask what you can do for your country."
STARTED_AT_MS = 1_800_000_000_000


def room(*sessions: str) -> Room:
    parts = tuple(RoomPart(each, "", STARTED_AT_MS + 3_600_000 * n, 0, "open") for n, each in enumerate(sessions))
    return Room("pycon", "", False, "live", sessions[-1] if sessions else None, False, parts)


def partial(stable: str, text: str = SAID, utterance: int = 0, channel: int | None = None) -> Partial:
    return Partial(utterance, 0, text, stable, 1000, 11_000, channel)


def final(text: str = SAID, utterance: int = 0, channel: int | None = None) -> Final:
    return Final(utterance, text, 1000, 11_000, "en", 0.9, 300, channel=channel)


def snapshot(session: str, *finals: Final, open_one: Partial | None = None) -> Snapshot:
    return Snapshot("", "en", finals, open_one, "e", session=session)


def sent(*given_events: Event, line_length: int = 37) -> list[Text]:
    lines = Lines(line_length)
    return [text for event in given_events for text in lines.take(event)]


def words(texts: Sequence[Text]) -> str:
    return " ".join(line for text in texts for line in text.lines)


def test_a_final_is_sent_in_texts_of_two_lines_at_most() -> None:
    texts = sent(room("a"), final())
    assert [text.lines for text in texts] == [
        ("And so my fellow Americans ask not", "what your country can do for you,"),
        ("ask what you can do for your country.",),
    ]


def test_signs_that_only_the_final_has_shift_no_character() -> None:
    text = "今天我们在这里介绍实时字幕的技术和它的应用以及我们的计划"
    early, *rest = sent(
        room("a"), partial(text), final("今天，我们在这里介绍实时字幕的技术，和它的应用，以及我们的计划。")
    )
    assert (
        "".join("".join(each.lines) for each in (early, *rest)).translate({ord(sign): None for sign in "，。"}) == text
    )


def test_committed_words_are_sent_once_they_fill_a_line_and_the_rest_with_the_final() -> None:
    lines = Lines(37)
    list(lines.take(room("a")))
    assert list(lines.take(partial("And so my fellow Americans"))) == []
    [early] = lines.take(partial("And so my fellow Americans ask not what your"))
    assert list(lines.take(partial("And so my fellow Americans ask not what your"))) == []
    rest = list(lines.take(final()))
    assert early.lines == ("And so my fellow Americans ask not",)
    assert words([early, *rest]) == SAID


def test_tentative_words_are_never_sent() -> None:
    assert sent(room("a"), partial("", SAID), partial("And so", SAID)) == []


def test_a_final_that_writes_committed_words_with_other_case_and_punctuation_is_sent_from_the_next_word_on() -> None:
    texts = sent(room("a"), partial("And so my fellow americans ask not what your"), final())
    assert words(texts) == SAID.replace("Americans", "americans")


def test_a_final_without_text_sends_nothing_more() -> None:
    assert sent(room("a"), partial("And so"), final("")) == []


def test_the_time_of_a_text_is_that_of_its_first_word_on_the_clock() -> None:
    first, *_, last = sent(room("a"), final())
    assert first.spoken_at_ms == STARTED_AT_MS + 1000
    assert STARTED_AT_MS + 5000 < last.spoken_at_ms < STARTED_AT_MS + 8000


def test_the_time_of_a_line_within_an_utterance_is_its_share_of_the_characters() -> None:
    stable = SAID[: SAID.index("for your")]
    times = [text.spoken_at_ms - STARTED_AT_MS for text in sent(room("a"), partial(stable), final())]
    assert times[0] == 1000
    assert times == sorted(times)
    assert 3000 < times[1] < 6000


def test_the_next_part_of_a_room_begins_with_its_own_first_word_and_its_own_clock() -> None:
    texts = sent(room("a"), final("One."), room("a", "b"), snapshot("b"), final("Two."))
    assert [(text.lines, text.spoken_at_ms - STARTED_AT_MS) for text in texts] == [
        (("One.",), 1000),
        (("Two.",), 3_601_000),
    ]


def test_the_last_words_of_a_part_that_was_replaced_have_the_clock_of_that_part() -> None:
    texts = sent(room("a"), room("a", "b"), final("One."), snapshot("b", final("Two.")))
    assert [text.spoken_at_ms - STARTED_AT_MS for text in texts] == [1000, 3_601_000]


def test_a_snapshot_of_the_same_part_brings_only_what_was_not_sent_yet() -> None:
    one, two = final("One."), final("Two.", utterance=1)
    texts = sent(room("a"), one, snapshot("a", one, two, open_one=partial("", utterance=2)))
    assert [text.lines for text in texts] == [("One.",), ("Two.",)]


def test_a_snapshot_brings_the_committed_lines_of_the_open_utterance() -> None:
    assert len(sent(room("a", "b"), snapshot("b", open_one=partial(SAID)))) > 1


def test_channels_are_named_and_their_utterances_do_not_disturb_each_other() -> None:
    texts = sent(
        room("a"),
        partial("And so my fellow Americans ask not", channel=0),
        final("Yes.", utterance=1, channel=1),
        final("And so my fellow Americans ask not.", channel=0),
    )
    assert [text.lines for text in texts] == [
        ("Channel 1: And so my fellow Americans",),
        ("Channel 2: Yes.",),
        ("Channel 1: ask not.",),
    ]


def test_a_channel_that_is_a_speaker_has_its_name() -> None:
    """Before the first final, nobody knows whether channels are speakers who have no names."""
    hello = spoken_by(final("Hello.", channel=0), 1)
    texts = sent(
        room("a"),
        partial("And so my fellow Americans ask not", channel=0),
        spoken_by(final("And so my fellow Americans ask not.", channel=0), 1),
        replace(hello, utterance=1),
        SpeakerNamed(1, "Ada"),
        partial("And so my fellow Americans ask not what your country", utterance=2, channel=0),
        SpeakerNamed(1, "Ada Lovelace of London"),
        replace(hello, utterance=2, text="And so my fellow Americans ask not what your country can."),
        SpeakerNamed(2, "Bob"),
        partial("No", utterance=3, channel=1),
        spoken_by(final("Nothing.", utterance=3, channel=1), 2),
        replace(hello, utterance=4),
    )
    assert [text.lines for text in texts] == [
        ("Channel 1: And so my fellow Americans",),
        ("Channel 1: ask not.",),
        ("Speaker 1: Hello.",),
        ("Ada: And so my fellow Americans ask",),
        ("Ada: not what your country can.",),
        ("Bob: Nothing.",),
        ("Ada Lovelace of L…: Hello.",),
    ]


@for_each("line_length", [32, 42])
def test_no_line_is_longer_than_the_service_shows(line_length: int) -> None:
    texts = sent(room("a"), partial(SAID[:60]), final(), line_length=line_length)
    assert max(width(line) for text in texts for line in text.lines) <= line_length


@given(
    st.lists(st.text("abcdeé,.'", min_size=1, max_size=14), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from([32, 37, 42]),
)
def test_however_words_are_committed_each_is_sent_once_and_in_order(
    said: list[str], committed: list[int], line_length: int
) -> None:
    text = " ".join(said)
    partials = [partial(" ".join(said[:n]), text) for n in sorted(committed)]
    texts = sent(room("a"), *partials, final(text), line_length=line_length)
    assert words(texts).split() == said


def test_a_word_that_is_longer_than_a_line_goes_on_in_the_final_where_it_was_cut() -> None:
    stable = "die Donaudampfschifffahrtsgesellschaftskapitänsmütze"
    texts = sent(room("a"), partial(stable), final(f"{stable} liegt hier."), line_length=32)
    assert [text.lines for text in texts] == [
        ("die",),
        ("Donaudampfschifffahrtsgesellscha",),
        ("ftskapitänsmütze liegt hier.",),
    ]


@given(
    st.lists(
        st.text("abé,.'กั", min_size=1, max_size=14) | st.text("abé,.'กั", min_size=40, max_size=100),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.integers(0, 6), max_size=4),
    st.sampled_from([32, 37, 42]),
)
def test_each_character_of_words_that_are_longer_than_a_line_is_sent_once(
    said: list[str], committed: list[int], line_length: int
) -> None:
    text = " ".join(said)
    partials = [partial(" ".join(said[:n]), text) for n in sorted(committed)]
    assert "".join(words(sent(room("a"), *partials, final(text), line_length=line_length)).split()) == "".join(said)


@given(st.text("日本語の字幕。、は", min_size=1, max_size=80), st.lists(st.integers(0, 80), max_size=5))
def test_each_character_of_a_language_without_spaces_is_sent_once(said: str, committed: list[int]) -> None:
    partials = [partial(said[:n], said) for n in sorted(committed)]
    assert words(sent(room("a"), *partials, final(said))).replace(" ", "") == said


def turns(*spoken: tuple[int | None, str], utterance: int = 0) -> Final:
    text = "".join(said for _, said in spoken)
    cut = [Turn(who, said, 1000 + 1500 * n, 2500 + 1500 * n) for n, (who, said) in enumerate(spoken)]
    return replace(final(text, utterance), end_ms=cut[-1].end_ms, turns=tuple(cut))


def test_a_speaker_is_named_where_another_one_speaks_by_the_newest_name() -> None:
    texts = sent(
        room("a"),
        replace(snapshot("a", turns((1, "Are we complete? "), (2, "Nearly."))), names=(SpeakerName(1, "Ada"),)),
        turns((2, "Bob is late."), utterance=1),
        SpeakerNamed(1, "Ada Lovelace"),
        turns((1, "Then begin."), utterance=2),
    )
    assert [text.lines for text in texts] == [
        ("Ada: Are we complete?",),
        ("Speaker 2: Nearly.",),
        ("Bob is late.",),
        ("Ada Lovelace: Then begin.",),
    ]


def test_nobody_is_named_in_an_utterance_whose_words_were_sent_before_its_end_and_the_next_one_has_a_name() -> None:
    said = turns((1, SAID))
    texts = sent(
        room("a"), partial("And so my fellow Americans ask not what your"), said, turns((1, "Yes."), utterance=1)
    )
    assert words(texts) == f"{SAID} Speaker 1: Yes."
