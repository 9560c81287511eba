"""static/layout.js: the page cuts captions as livecaption.captions.layout does, whose tests say how that is."""

import random
from typing import Any

import pytest
from playwright.async_api import Page

from livecaption.captions import layout, line_breaking
from livecaption.captions.transcript import to_srt
from livecaption.events import Final

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WORDS = {
    "en": "The the man, who didn't know Margaret “Thompson” of the 3,000 ships. — I'll be there... Mr. F. Kennedy",
    "de": "Der alte Mann, der nicht mit seiner Frau Müller in den Wald 50 % ging. Weil es regnete",
    "fr": "Bonjour ! « Nous » n'est-ce n'avait qu'étant qu'elle la salle, d’un à l'école ; où",
    "es": "¿Los niños? no están en la casa, ¡pero! él vive aquí.",
    "it": "Il treno della città perché è arrivato, non quest'anno.",
    "pt": "Não sei, a casa é muito grande para você.",
    "ja": "今日はパーティー、「図書館」に行って。ﾊﾝｶｸ が\u3099 2024年",
    "zh": "我们，今天“讨论”：AI技术——好！\U00020000",
    "ko": "안녕하세요 여러분, 오늘은",
    "he": "שלום לכולם, אני שָׁמֵחַ",
    "hi": "नमस्ते दुनिया। कैसे",
    "th": "สวัสดีครับทุกคนวันนี้เราจะมาพูดคุยกันเรื่องเทคโนโลยี",
    "nl": "het schip, Jan 😀 👩\u200d🚀 ❤\ufe0f https://example.org/a/very/long/address/that/does/not/fit cafe\u0301s",
}


def finals(seed: int) -> list[Final]:
    """Some utterances in one or two languages, some of which touch, fast and slow."""
    chance = random.Random(seed)
    made = []
    at_ms = 0
    for utterance in range(chance.randint(1, 5)):
        language = chance.choice([*WORDS, None, "en", "en"])
        vocabulary = WORDS[language or "en"].split()
        text = " ".join(chance.choices(vocabulary, k=chance.randint(0, 50)))
        start_ms = at_ms + chance.choice([0, 0, 30, 400, 3000])
        at_ms = start_ms + len(text) * chance.choice([0, 5, 50, 60, 70, 200])
        made.append(Final(utterance, text, start_ms, at_ms, language, 0.9, latency_ms=300))
    return made


async def test_the_page_cuts_captions_into_the_same_cues_as_the_server(module_page: Page) -> None:
    transcripts = [finals(seed) for seed in range(300)]
    read: list[list[dict[str, Any]]] = await module_page.evaluate(
        "async (transcripts) => transcripts.map((await import('/layout.js')).cues)",
        [
            [
                {name: getattr(final, name) for name in ("text", "start_ms", "end_ms", "language")}
                for final in transcript
            ]
            for transcript in transcripts
        ],
    )
    assert sum(map(len, read)) > 1000
    for transcript, cues in zip(transcripts, read, strict=True):
        expected = [(cue.start_ms, cue.end_ms, list(cue.lines)) for cue in layout.cues(transcript)]
        assert [(cue["start_ms"], cue["end_ms"], cue["lines"]) for cue in cues] == expected


async def test_the_page_writes_the_same_subrip_as_the_server(module_page: Page) -> None:
    said = [
        Final(0, "Turn left --> and go on ---> to the --- > end --> of <the> road & back.", 0, 5000, "en", 0.9, 300),
        Final(1, "-->", 6000, 7000, None, 0.9, 300),
    ]
    captions = [{name: getattr(final, name) for name in ("text", "start_ms", "end_ms", "language")} for final in said]
    page: str = await module_page.evaluate(
        "async (captions) => (await import('/transcript.js')).toSrt(captions)", captions
    )
    assert f"{page}\n" == to_srt(said)


@pytest.mark.parametrize("table", ["OPENERS", "LEANERS"])
async def test_the_page_knows_the_same_words_as_the_server(module_page: Page, table: str) -> None:
    assert await module_page.evaluate(f"async () => (await import('/layout.js')).{table}") == getattr(
        line_breaking, table
    )
