"""static/transcript.js: finals to WebVTT, SRT and text, as the browser computes them."""

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SENTENCE = (
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
)


MARKUP = "R&D <b> --> done"


async def call(page: Page, function: str, *arguments: object) -> Any:
    return await page.evaluate(
        "async ([name, args]) => (await import('/transcript.js'))[name](...args)", [function, arguments]
    )


def caption(text: str, start_ms: int = 0, end_ms: int = 2000) -> dict[str, object]:
    return {"text": text, "start_ms": start_ms, "end_ms": end_ms, "language": "en"}


async def test_vtt_is_written_to_the_letter(module_page: Page) -> None:
    vtt = await call(module_page, "toVtt", [caption("Hello.", 0, 1500), caption(MARKUP, 3_723_004, 3_725_000)])
    assert vtt == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\nHello.\n\n"
        "01:02:03.004 --> 01:02:05.000\nR&amp;D &lt;b&gt; --&gt; done\n"
    )


async def test_an_empty_transcript_is_still_a_vtt_file(module_page: Page) -> None:
    assert await call(module_page, "toVtt", []) == "WEBVTT\n"


async def test_srt_is_written_to_the_letter_and_has_no_arrow_in_its_text(module_page: Page) -> None:
    srt = await call(module_page, "toSrt", [caption("Hello.", 0, 1500), caption(MARKUP, 3_723_004, 3_725_000)])
    assert srt == ("1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n01:02:03,004 --> 01:02:05,000\nR&D <b> → done\n")


async def test_text_has_one_caption_a_line(module_page: Page) -> None:
    assert await call(module_page, "toText", [caption("One & two."), caption("Three.")]) == "One & two.\nThree.\n"


async def test_the_browsers_own_vtt_parser_reads_back_every_word(module_page: Page) -> None:
    """Escapes, line breaks and times mean to a player what they meant to us."""
    texts = [
        "a < b && c > d",
        "00:01 --> 00:02",
        "&amp; is not &",
        "<v Fred>Hi",
        "WEBVTT",
        "NOTE no note",
        SENTENCE,
        "שלום",
    ]
    captions = [caption(text, i * 10_000, i * 10_000 + 5000) for i, text in enumerate(texts)]
    read = await module_page.evaluate(
        """async (captions) => {
          const { cues } = await import('/layout.js');
          const { toVtt } = await import('/transcript.js');
          const video = document.body.appendChild(document.createElement('video'));
          const track = document.createElement('track');
          track.src = URL.createObjectURL(new Blob([toVtt(captions)], { type: 'text/vtt' }));
          const loaded = new Promise((resolve, reject) => { track.onload = resolve; track.onerror = reject; });
          video.append(track);
          track.track.mode = 'hidden';
          await loaded;
          const told = (cue) => [Math.round(cue.startTime * 1000), Math.round(cue.endTime * 1000),
            cue.getCueAsHTML().textContent];
          const meant = cues(captions).map((cue) => [cue.start_ms, cue.end_ms, cue.lines.join('\\n')]);
          return { read: [...track.track.cues].map(told), meant };
        }""",
        captions,
    )
    assert len(read["meant"]) == len(texts) + 1
    assert read["read"] == read["meant"]


async def test_times_of_a_second_session_continue_those_of_the_first(module_page: Page) -> None:
    captions = await module_page.evaluate(
        """async () => {
          const { Transcript } = await import('/transcript.js');
          const transcript = new Transcript();
          transcript.add({ text: ' One. ', start_ms: 100, end_ms: 900, language: 'en' });
          transcript.beginSession(60000);
          transcript.add({ text: ' ', start_ms: 0, end_ms: 50, language: 'en' });
          transcript.add({ text: 'Two.', start_ms: 100, end_ms: 900, language: null });
          return transcript.captions;
        }"""
    )
    assert captions == [
        {"text": "One.", "start_ms": 100, "end_ms": 900, "language": "en"},
        {"text": "Two.", "start_ms": 60_100, "end_ms": 60_900, "language": None},
    ]


async def test_file_names_carry_the_date(module_page: Page) -> None:
    name = await module_page.evaluate(
        "async () => (await import('/transcript.js')).fileName(new Date(2026, 2, 5, 14, 3), 'vtt')"
    )
    assert name == "captions-2026-03-05-1403.vtt"
