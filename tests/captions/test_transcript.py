"""Transcripts: every format holds every word once, in readable pieces, at possible times."""

import html
import io
import json
from dataclasses import replace
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.layout import LINE_LENGTHS, cues
from livecaption.captions.line_breaking import width
from livecaption.captions.transcript import (
    FORMATS,
    GrowingVtt,
    Part,
    beginnings_ms,
    in_sequence,
    in_spoken_order,
    in_track,
    names_in_sequence,
    to_json,
    to_srt,
    to_text,
    to_vtt,
)
from livecaption.events import CaptionWord, Final, TranslatedText, Turn
from tests.support.cases import for_each
from tests.support.transcripts import final, transcripts


@pytest.mark.parametrize("length", LINE_LENGTHS)
@given(finals=transcripts())
def test_subtitles_have_lines_of_the_length_that_is_asked_for(length: int, finals: list[Final]) -> None:
    read_srt = [tuple(cue.content.split("\n")) for cue in srt.parse(FORMATS["srt"](finals, length, {}))]
    read_vtt = [tuple(map(html.unescape, cue.lines)) for cue in webvtt.from_string(FORMATS["vtt"](finals, length, {}))]
    assert read_srt == read_vtt == [cue.lines for cue in cues(finals, length)]


def test_plain_text_begins_a_new_paragraph_after_a_pause_of_two_seconds() -> None:
    finals = [
        final("And so,", 0, 1000),
        final("my friends,", 1500, 2500),
        final("", 2600, 2700),
        final("ask.", 4500, 5000),
    ]
    assert to_text(finals) == "And so, my friends,\nask.\n"


def test_subrip_is_written_as_players_read_it() -> None:
    assert to_srt([final("Hello.", 3_723_004, 3_724_504)]) == "1\n01:02:03,004 --> 01:02:04,504\nHello.\n\n"


def test_subrip_has_no_arrow_in_its_text_which_would_end_the_cue_in_some_players() -> None:
    made = to_srt([final("a --> b ---> c", 0, 1000)])
    assert made == "1\n00:00:00,000 --> 00:00:01,000\na → b -→ c\n\n"


def test_webvtt_is_written_as_browsers_read_it() -> None:
    made = to_vtt([final("Q&A: <b>", 0, 1000)])
    assert made == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nQ&amp;A: &lt;b&gt;\n\n"


@given(transcripts())
def test_another_program_reads_the_same_cues_from_subrip(finals: list[Final]) -> None:
    read = list(srt.parse(to_srt(finals)))
    assert [
        (round(cue.start.total_seconds() * 1000), round(cue.end.total_seconds() * 1000), tuple(cue.content.split("\n")))
        for cue in read
    ] == [(cue.start_ms, cue.end_ms, cue.lines) for cue in cues(finals)]


@given(transcripts())
def test_another_program_reads_the_same_cues_from_webvtt(finals: list[Final]) -> None:
    read = list(webvtt.from_string(to_vtt(finals)))
    assert [tuple(map(html.unescape, cue.lines)) for cue in read] == [cue.lines for cue in cues(finals)]
    assert [(_ms(cue.start), _ms(cue.end)) for cue in read] == [(cue.start_ms, cue.end_ms) for cue in cues(finals)]


def _ms(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + int(seconds.replace(".", ""))


@given(transcripts())
def test_json_is_laid_out_for_people(finals: list[Final]) -> None:
    made = to_json(finals)
    assert made == json.dumps(json.loads(made), ensure_ascii=False, indent=2) + "\n"


@given(transcripts())
def test_json_holds_every_final_with_a_text_as_it_was_on_the_wire(finals: list[Final]) -> None:
    captions = json.loads(to_json(finals))["captions"]
    said = [final for final in finals if final.text]
    assert [caption["text"] for caption in captions] == [final.text for final in said]
    assert [len(caption["words"]) if "words" in caption else None for caption in captions] == [
        None if final.words is None else len(final.words) for final in said
    ]


@for_each("name", FORMATS)
def test_a_transcript_in_which_nothing_was_said_is_still_a_valid_file(name: str) -> None:
    written = FORMATS[name]([final("")], 37, {})
    expected = {"txt": "", "srt": "", "vtt": "WEBVTT\n\n"}
    assert written == expected[name] if name in expected else json.loads(written) == {"text": "", "captions": []}
    if name == "vtt":
        assert len(webvtt.from_buffer(io.StringIO(written))) == 0


@given(transcripts())
def test_growing_webvtt_is_appended_to_and_never_changed(finals: list[Final]) -> None:
    growing = GrowingVtt()
    whole = to_vtt(finals)
    before = growing.text
    for each in finals:
        growing.push(each)
        assert growing.text.startswith(before)
        assert whole.startswith(growing.text)
        assert each.utterance in growing.utterances
        before = growing.text


# Channels that are kept apart

CONVERSATION = [
    final("How are you today?", 0, 2000, 0, channel=0),
    final("Fine, thanks.", 1500, 3000, 1, channel=1),
    final("Good to hear that.", 2100, 4000, 2, channel=0),
]


def test_plain_text_names_each_channel_where_another_one_speaks() -> None:
    assert to_text(CONVERSATION) == (
        "Channel 1: How are you today?\nChannel 2: Fine, thanks.\nChannel 1: Good to hear that.\n"
    )
    one = [final("One.", 0, 1000, channel=0), final("Two.", 1200, 2000, 1, channel=0)]
    assert to_text(one) == "Channel 1: One. Two.\n"


def test_webvtt_names_a_channel_as_the_voice_of_a_cue_and_cues_of_two_channels_overlap() -> None:
    assert to_vtt(CONVERSATION) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:02.100\n<v Channel 1>How are you today?\n\n"
        "00:00:01.500 --> 00:00:03.000\n<v Channel 2>Fine, thanks.\n\n"
        "00:00:02.100 --> 00:00:04.000\n<v Channel 1>Good to hear that.\n\n"
    )
    read = webvtt.from_string(to_vtt(CONVERSATION))
    assert [cue.voice for cue in read] == ["Channel 1", "Channel 2", "Channel 1"]


def test_subrip_names_a_channel_in_the_first_line_of_a_cue() -> None:
    read = list(srt.parse(to_srt(CONVERSATION)))
    assert [cue.content for cue in read] == [
        "Channel 1: How are you today?",
        "Channel 2: Fine, thanks.",
        "Channel 1: Good to hear that.",
    ]


@pytest.mark.parametrize("length", LINE_LENGTHS)
def test_lines_have_room_for_the_name_of_the_channel(length: int) -> None:
    long = [final("He said that nobody had ever asked him for anything of this kind.", 0, 5000, channel=7)]
    cues_read = list(srt.parse(to_srt(long, length)))
    assert len(cues_read) > 1
    assert all(cue.content.startswith("Channel 8: ") for cue in cues_read)
    assert all(len(line) <= length for cue in cues_read for line in cue.content.split("\n"))


def test_json_has_the_channel_of_a_caption() -> None:
    assert [caption["channel"] for caption in json.loads(to_json(CONVERSATION))["captions"]] == [0, 1, 0]
    assert "channel" not in to_json([final("Mixed.")])


def test_finals_that_overtook_each_other_are_put_into_spoken_order() -> None:
    assert in_spoken_order([CONVERSATION[1], CONVERSATION[0], CONVERSATION[2]]) == CONVERSATION
    mixed = [final("One.", 900, 1000, 0), final("Two.", 800, 1000, 1)]
    assert in_spoken_order(mixed) == mixed


@given(transcripts(), transcripts())
def test_growing_webvtt_of_two_channels_is_appended_to_and_in_the_order_of_its_cues(
    left: list[Final], right: list[Final]
) -> None:
    """The finals come as their utterances end, so those of the other channel may have begun before."""
    both = [replace(each, channel=0, utterance=2 * n) for n, each in enumerate(left)]
    both += [replace(each, channel=1, utterance=2 * n + 1) for n, each in enumerate(right)]
    both += [final("Much later.", at_ms, at_ms + 900, at_ms, channel=0) for at_ms in (200_001, 300_003)]
    growing, whole = GrowingVtt(), to_vtt(in_spoken_order(both))
    for each in sorted(both, key=lambda each: each.end_ms):
        before = growing.text
        growing.push(each)
        assert growing.text.startswith(before)
        assert whole.startswith(growing.text)
    starts = [_ms(cue.start) for cue in webvtt.from_string(whole)]
    assert starts == sorted(starts)


def test_growing_webvtt_of_two_channels_comes_although_one_of_them_is_silent() -> None:
    growing = GrowingVtt()
    growing.push(final("Once.", 100, 1000, 100, channel=1))
    for n in range(40):
        growing.push(final("Words.", 5000 * n, 5000 * n + 4000, n, channel=0))
    assert growing.text.count("Words.") > 10
    assert growing.text.count("Once.") == 1


DENSE = " ".join(f"word{n:03}" for n in range(44))


@pytest.mark.parametrize(
    "finals",
    [
        # A cue of the right channel is not certain yet, and begins before one of the left channel that is.
        [final("Long.", 1000, 4000, channel=1), final("Short.", 2000, 2500, 1, channel=0)],
        # So many words in a second that their cues are shown for much longer, up to those of the next final.
        [
            final(DENSE, 0, 1000, channel=1),
            final("Left.", 500, 900, 1, channel=0),
            final("Next.", 5000, 6000, 9, channel=1),
        ],
    ],
)
def test_growing_webvtt_of_two_channels_is_what_the_whole_is(finals: list[Final]) -> None:
    """The left channel goes on, one second after the other, so that each cue becomes certain at some time."""
    ticks = [final("Tick.", 120_000 + 1000 * n, 120_900 + 1000 * n, 10 + n, channel=0) for n in range(30)]
    late = finals[2:]
    growing, whole = GrowingVtt(), to_vtt(in_spoken_order([*finals, *ticks]))
    for n, each in enumerate([*finals[:2], *ticks]):
        growing.push(each)
        if n == 5:
            for other in late:
                growing.push(other)
        assert whole.startswith(growing.text)
    assert growing.text.count("-->") >= 2


def test_the_parts_of_an_event_are_one_transcript_with_the_times_between_them() -> None:
    words = [CaptionWord("Two.", 100, 400, 0.9)]
    parts = [
        Part(5000, 2000, [final("Zero.", 0, 900, 0), final("One.", 1000, 1900, 1)]),
        Part(60_000, 500, []),
        Part(65_000, 2000, [final("Two.", 100, 900, 0, words), final("Three.", 1000, 1500, 2)]),
        Part(90_000, 1000, [final("Four.", 0, 900, 0)]),
    ]
    joined = list(in_sequence(parts))
    assert [(each.utterance, each.text, each.start_ms, each.end_ms) for each in joined] == [
        (0, "Zero.", 0, 900),
        (1, "One.", 1000, 1900),
        (2, "Two.", 60_100, 60_900),
        (4, "Three.", 61_000, 61_500),
        (5, "Four.", 85_000, 85_900),
    ]
    assert joined[2].words == (CaptionWord("Two.", 60_100, 60_400, 0.9),)
    assert list(in_sequence([])) == []


@given(st.lists(st.tuples(st.integers(0, 90_000), transcripts()), max_size=4))
def test_no_part_begins_before_the_end_of_the_one_before_it(begun: list[tuple[int, list[Final]]]) -> None:
    """Its audio may have been sent faster than it lasts, or the clock may have been set back."""
    parts = [Part(at_ms, max((each.end_ms for each in said), default=0), said) for at_ms, said in begun]
    began_at_ms = beginnings_ms(parts)
    for part, at_ms, next_at_ms in zip(parts, began_at_ms, began_at_ms[1:], strict=False):
        assert part.started_at_ms <= at_ms <= next_at_ms - part.duration_ms
    joined = list(in_sequence(parts))
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(joined))
    assert all(each.start_ms >= 0 for each in joined)


# Speakers


def meeting() -> list[Final]:
    """A final of two people, one of the second, one of nobody, and one of the first."""
    turns = [Turn(1, "Are we complete? ", 0, 1400), Turn(2, "Nearly, Bob is late.", 1500, 3000)]
    return [
        final("Are we complete? Nearly, Bob is late.", 0, 3000, 0, turns=turns),
        final("He is on the train.", 3600, 5000, 1, turns=[Turn(2, "He is on the train.", 3600, 5000)]),
        final("Hm.", 5600, 6000, 2, turns=[Turn(None, "Hm.", 5600, 6000)]),
        final("Then let us begin.", 6500, 8000, 3, turns=[Turn(1, "Then let us begin.", 6500, 8000)]),
        final("", 8500, 9000, 4, turns=[]),
    ]


NAMES = {2: "Bob <b>&"}


def test_plain_text_names_speakers_where_another_one_speaks_in_a_paragraph_of_its_own() -> None:
    assert to_text(meeting()) == (
        "Speaker 1: Are we complete?\nSpeaker 2: Nearly, Bob is late. He is on the train.\nSpeaker ?: Hm.\n"
        "Speaker 1: Then let us begin.\n"
    )
    assert "\nBob <b>&: Nearly" in to_text(meeting(), NAMES)


def test_a_pause_of_one_speaker_begins_a_paragraph_without_a_name() -> None:
    said = [
        final("One.", 0, 900, 0, turns=[Turn(1, "One.", 0, 900)]),
        final("Two.", 4000, 4900, 1, turns=[Turn(1, "Two.", 4000, 4900)]),
    ]
    assert to_text(said) == "Speaker 1: One.\nTwo.\n"


def test_webvtt_has_the_speaker_as_the_voice_of_each_cue_with_the_name_escaped() -> None:
    assert to_vtt(meeting(), names=NAMES) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\n<v Speaker 1>Are we complete?\n\n"
        "00:00:01.500 --> 00:00:03.000\n<v Bob &lt;b&gt;&amp;>Nearly, Bob is late.\n\n"
        "00:00:03.600 --> 00:00:05.000\n<v Bob &lt;b&gt;&amp;>He is on the train.\n\n"
        "00:00:05.600 --> 00:00:06.500\n<v Speaker ?>Hm.\n\n"
        "00:00:06.500 --> 00:00:08.000\n<v Speaker 1>Then let us begin.\n\n"
    )
    read = webvtt.from_string(to_vtt(meeting(), names={2: "Bob"}))
    assert [cue.voice for cue in read] == ["Speaker 1", "Bob", "Bob", "Speaker ?", "Speaker 1"]


def test_subrip_names_a_speaker_in_the_first_cue_where_another_one_speaks() -> None:
    assert [cue.content for cue in srt.parse(to_srt(meeting(), names={1: "Ada", 2: "a-->b"}))] == [
        "Ada: Are we complete?",
        "a→b: Nearly, Bob is late.",
        "He is on the train.",
        "Speaker ?: Hm.",
        "Ada: Then let us begin.",
    ]


@pytest.mark.parametrize("length", LINE_LENGTHS)
@pytest.mark.parametrize("name", ["Ada", "Ada Lovelace of London", "x" * 80, "名前" * 40])
@pytest.mark.parametrize("channel", [None, 0])
def test_lines_have_room_for_the_name_of_a_speaker(length: int, name: str, channel: int | None) -> None:
    said = "He said that nobody had ever asked him for anything of this kind."
    long = [final(said, 0, 5000, channel=channel, turns=[Turn(1, said, 0, 5000)])]
    lines = [line for cue in cues(long, length, {1: name}, labelled=True) for line in cue.lines]
    assert max(map(width, lines)) <= length
    assert "".join(said.split())[-10:] in "".join("".join(lines).split())


def test_json_has_turns_and_names() -> None:
    written = json.loads(to_json(meeting(), NAMES))
    assert written["names"] == {"2": "Bob <b>&"}
    assert written["captions"][0]["turns"] == [
        {"speaker": 1, "text": "Are we complete? ", "start_ms": 0, "end_ms": 1400},
        {"speaker": 2, "text": "Nearly, Bob is late.", "start_ms": 1500, "end_ms": 3000},
    ]
    assert written["text"].startswith("Speaker 1: Are we complete?\nBob <b>&: Nearly")
    assert "names" not in json.loads(to_json(meeting()))
    timed = final("Hello.", words=[CaptionWord("Hello.", 0, 300, 0.9)])
    assert "speaker" not in to_json([timed])


def test_growing_webvtt_has_the_name_that_a_speaker_had_when_its_cue_was_certain() -> None:
    growing = GrowingVtt(37)
    first, second, *rest = meeting()
    growing.push(first)
    growing.push(second, NAMES)
    for each in rest:
        growing.push(each, NAMES)
    assert [line.partition(">")[0] for line in growing.text.split("\n") if line.startswith("<v")] == [
        "<v Speaker 1",
        "<v Speaker 2",
        "<v Bob &lt;b&gt;&amp;",
        "<v Speaker ?",
    ]


def test_speakers_of_the_parts_of_an_event_have_one_count_and_keep_their_names() -> None:
    words = [CaptionWord("Two.", 0, 300, 0.9, 1)]
    parts = [
        Part(0, 1000, [final("One.", 0, 900, 0, turns=[Turn(2, "One.", 0, 900)])], 2, {1: "Ada"}),
        Part(5000, 1000, [final("Two.", 0, 900, 0, words, turns=[Turn(1, "Two.", 0, 900)])], 1, {1: "Bob"}),
        Part(9000, 1000, [final("Hm.", 0, 900, 0, turns=[Turn(None, "Hm.", 0, 900)])]),
    ]
    joined = list(in_sequence(parts))
    assert [[turn.speaker for turn in each.turns or ()] for each in joined] == [[2], [3], [None]]
    assert joined[1].words == (CaptionWord("Two.", 5000, 5300, 0.9, 3),)
    assert joined[1].turns == (Turn(3, "Two.", 5000, 5900),)
    assert names_in_sequence(parts) == {1: "Ada", 3: "Bob"}


def test_the_name_of_a_channel_without_a_word_is_that_of_nobody_in_a_later_part() -> None:
    parts = [
        Part(0, 1000, [final("One.", 0, 900, 0, turns=[Turn(1, "One.", 0, 900)])], 1, {2: "Bob"}),
        Part(5000, 1000, [final("Two.", 0, 900, 0, turns=[Turn(1, "Two.", 0, 900)])], 1),
    ]
    assert to_text(in_sequence(parts), names_in_sequence(parts)) == "Speaker 1: One.\nSpeaker 3: Two.\n"


def test_a_translation_is_the_speakers_if_there_is_one_and_else_nobodys() -> None:
    translations = (TranslatedText("de", "Sind wir komplett?"),)
    both, one, *_ = (replace(each, translations=translations) for each in meeting())
    turns = [each.turns for each in in_track([both, one], "de")]
    assert turns == [(Turn(None, "Sind wir komplett?", 0, 3000),), (Turn(2, "Sind wir komplett?", 3600, 5000),)]


def test_a_track_has_the_translations_and_originals_where_there_are_none() -> None:
    """The words with their times are those of the original."""
    translated = replace(
        final("Hello.", utterance=0, words=[CaptionWord("Hello.", 0, 300, 1.0)]),
        translations=(TranslatedText("fr", "Salut."), TranslatedText("de", "Hallo.")),
    )
    original = final("Bye.", utterance=1)
    assert list(in_track([translated, original], "de")) == [final("Hallo.", language="de"), original]
    assert list(in_track([translated, original], "it")) == [replace(translated, translations=None), original]
    assert list(in_track([translated, original], None)) == [translated, original]
    (caption,) = json.loads(to_json([translated]))["captions"]
    assert caption["translations"] == [{"language": "fr", "text": "Salut."}, {"language": "de", "text": "Hallo."}]
    assert "translations" not in json.loads(to_json([original]))["captions"][0]
