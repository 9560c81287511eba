"""Transcripts: every format holds every word once, in readable pieces, at possible times."""

import html
import io
import json

import pytest
import srt
import webvtt
from hypothesis import given

from livecaption.captions.layout import LINE_LENGTHS, cues
from livecaption.captions.transcript import FORMATS, GrowingVtt, to_json, to_srt, to_text, to_vtt
from livecaption.events import Final
from tests.support.cases import for_each
from tests.support.transcripts import final, transcripts


@pytest.mark.parametrize("length", LINE_LENGTHS)
@given(finals=transcripts())
def test_subtitles_have_lines_of_the_length_that_is_asked_for(length: int, finals: list[Final]) -> None:
    read_srt = [tuple(cue.content.split("\n")) for cue in srt.parse(FORMATS["srt"](finals, length))]
    read_vtt = [tuple(map(html.unescape, cue.lines)) for cue in webvtt.from_string(FORMATS["vtt"](finals, length))]
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
    written = FORMATS[name]([final("")], 37)
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
        assert growing.last_utterance == each.utterance
        before = growing.text
