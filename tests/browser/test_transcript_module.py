"""static/transcript.js: finals to text, and the server's subtitles to the files of a page, as the browser does it."""

from typing import Any

import pytest
from playwright.async_api import Page

from livecaption.captions.layout import cues
from livecaption.captions.transcript import to_srt
from tests.support.transcripts import final

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

MARKUP = "R&D <b> and on"
CUES = [
    {"startMs": 0, "endMs": 1500, "lines": ["Hello."]},
    {"startMs": 3_723_004, "endMs": 3_725_000, "lines": [MARKUP, "& on."]},
]


async def call(page: Page, function: str, *arguments: object) -> Any:
    return await page.evaluate(
        "async ([name, args]) => (await import('/transcript.js'))[name](...args)", [function, arguments]
    )


def session(*captions: dict[str, object], offset_ms: int = 0) -> dict[str, object]:
    return {"id": "a", "readerToken": "", "offsetMs": offset_ms, "captions": captions}


def caption(text: str, start_ms: int = 0, end_ms: int = 2000) -> dict[str, object]:
    return {"text": text, "startMs": start_ms, "endMs": end_ms, "language": "en"}


async def test_vtt_is_written_to_the_letter(module_page: Page) -> None:
    assert await call(module_page, "toVtt", CUES) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\nHello.\n\n"
        "01:02:03.004 --> 01:02:05.000\nR&amp;D &lt;b&gt; and on\n&amp; on.\n"
    )


async def test_an_empty_transcript_is_still_a_vtt_file(module_page: Page) -> None:
    assert await call(module_page, "toVtt", []) == "WEBVTT\n"


async def test_srt_is_written_to_the_letter(module_page: Page) -> None:
    assert await call(module_page, "toSrt", CUES) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n01:02:03,004 --> 01:02:05,000\nR&D <b> and on\n& on.\n"
    )


async def test_text_has_one_caption_a_line(module_page: Page) -> None:
    assert await call(module_page, "toText", [caption("One & two."), caption("Three.")]) == "One & two.\nThree.\n"


async def test_text_names_a_speaker_and_nobody_where_that_changes(module_page: Page) -> None:
    said = [(1, "One."), (None, "Two."), (None, "Three."), (1, "Four.")]
    captions = [
        {**caption(text), "turns": [{"speaker": speaker, "text": text, "startMs": 0}]} for speaker, text in said
    ]
    text = await module_page.evaluate(
        "async (captions) => (await import('/transcript.js')).toText(captions, (speaker) => speaker ?? '?')", captions
    )
    assert text == "1: One.\n?: Two.\nThree.\n1: Four.\n"


async def test_the_servers_subtitles_are_read_to_the_letter(module_page: Page) -> None:
    """Long captions become several cues of one or two lines; odd texts must not look like times or numbers."""
    texts = ["a < b && c > d", "12", "00:01 --> 00:02", "WEBVTT", "&amp; is not &", " ".join(["Word"] * 60), "שלום"]
    finals = [final(text, i * 20_000, i * 20_000 + 15_000, i) for i, text in enumerate(texts)]
    read = await call(module_page, "cuesOf", session(caption(texts[0])), to_srt(finals))
    expected = [
        {"startMs": cue.start_ms, "endMs": cue.end_ms, "lines": [line.replace("-->", "→") for line in cue.lines]}
        for cue in cues(finals)
    ]
    assert len(expected) > len(texts)
    assert read == expected


async def test_an_empty_transcript_of_the_server_has_no_cues(module_page: Page) -> None:
    assert await call(module_page, "cuesOf", session(caption("Never sent.")), to_srt([])) == []


async def test_cues_of_a_second_session_have_the_times_of_the_page(module_page: Page) -> None:
    srt = to_srt([final("Hello.", 0, 1500)])
    [cue] = await call(module_page, "cuesOf", session(caption("Hello.", 60_000, 61_500), offset_ms=60_000), srt)
    assert (cue["startMs"], cue["endMs"]) == (60_000, 61_500)


async def test_captions_that_were_cleared_from_the_page_are_not_in_its_subtitles(module_page: Page) -> None:
    """The server still has it. Nothing after it is lost, even where one cue has words from before and after."""
    finals = [final("Cleared.", 0, 2000, 0), final("Cleared.", 4000, 6000, 1), final("Shown.", 6000, 8000, 2)]
    srt = to_srt(finals)
    kept = await call(module_page, "cuesOf", session(caption("Shown.", 6000, 8000)), srt)
    assert " ".join(line for cue in kept for line in cue["lines"]) in ("Shown.", "Cleared. Shown.")


async def test_the_browsers_own_vtt_parser_reads_back_every_word(module_page: Page) -> None:
    """Escapes, line breaks and times mean the same to a player."""
    texts = ["a < b && c > d", "00:01 → 00:02", "&amp; is not &", "<v Fred>Hi", "WEBVTT", "NOTE no note", "שלום"]
    cues = [{"startMs": n * 10_000, "endMs": n * 10_000 + 5000, "lines": [text, text]} for n, text in enumerate(texts)]
    read = await module_page.evaluate(
        """async (cues) => {
          const { toVtt } = await import('/transcript.js');
          const video = document.body.appendChild(document.createElement('video'));
          const track = document.createElement('track');
          track.src = URL.createObjectURL(new Blob([toVtt(cues)], { type: 'text/vtt' }));
          const loaded = new Promise((resolve, reject) => { track.onload = resolve; track.onerror = reject; });
          video.append(track);
          track.track.mode = 'hidden';
          await loaded;
          return [...track.track.cues].map((cue) => ({
            startMs: Math.round(cue.startTime * 1000),
            endMs: Math.round(cue.endTime * 1000),
            lines: cue.getCueAsHTML().textContent.split('\\n'),
          }));
        }""",
        cues,
    )
    assert read == cues


async def test_times_of_a_second_session_continue_those_of_the_first(module_page: Page) -> None:
    captions = await module_page.evaluate(
        """async () => {
          const { Transcript } = await import('/transcript.js');
          const transcript = new Transcript();
          transcript.beginSession('a', '', 0);
          transcript.add({ utterance: 0, text: ' One. ', start_ms: 100, end_ms: 900, language: 'en' });
          transcript.beginSession('b', '', 60000);
          transcript.add({ utterance: 0, text: ' ', start_ms: 0, end_ms: 50, language: 'en' });
          transcript.add({ utterance: 1, text: 'Two.', start_ms: 100, end_ms: 900, language: null });
          return transcript.captions;
        }"""
    )
    assert captions == [
        {"text": "One.", "startMs": 100, "endMs": 900, "language": "en"},
        {"text": "Two.", "startMs": 60_100, "endMs": 60_900, "language": None},
    ]


async def test_a_part_does_not_begin_before_the_end_of_a_recording_that_was_sent_faster_than_it_lasts(
    module_page: Page,
) -> None:
    began = await module_page.evaluate(
        """async () => {
          const { beganAfterMs } = await import('/reading.js');
          const parts = [
            { session: 'recording', started_at_ms: 5000, duration_ms: 60000 },
            { session: 'next', started_at_ms: 9000, duration_ms: 2000 },
            { session: 'later', started_at_ms: 95000, duration_ms: 2000 },
          ];
          return [...parts.map(({ session }) => beganAfterMs(parts, session)), beganAfterMs(parts, 'unknown')];
        }"""
    )
    assert began == [0, 60_000, 90_000, 0]


async def test_a_session_goes_on_after_its_captions_were_cleared(module_page: Page) -> None:
    sessions = await module_page.evaluate(
        """async () => {
          const { Transcript } = await import('/transcript.js');
          const transcript = new Transcript();
          for (const [id, offsetMs] of [['over', 0], ['running', 5000]]) {
            transcript.beginSession(id, '', offsetMs);
            transcript.add({ utterance: 0, text: 'One.', start_ms: 0, end_ms: 900, language: 'en' });
          }
          transcript.clear();
          transcript.add({ utterance: 1, text: 'Two.', start_ms: 1000, end_ms: 1900, language: 'en' });
          return transcript.sessions.map(({ id, captions }) => [id, captions.map(({ text }) => text)]);
        }"""
    )
    assert sessions == [["running", ["Two."]]]


async def test_file_names_carry_the_date(module_page: Page) -> None:
    name = await module_page.evaluate(
        "async () => (await import('/transcript.js')).fileName(new Date(2026, 2, 5, 14, 3), 'vtt')"
    )
    assert name == "captions-2026-03-05-1403.vtt"
