"""Compute the latencies of captions from events and their times of arrival. Pure.

Wall time and stream time begin together, because audio is sent in real time. A latency is the difference of the two.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from livecaption.captions.stabilizer import units
from livecaption.events import Event, Final, Partial

SAME_SPEECH_MS = 300
"""Largest distance between the end of a word in the reference and in the server's captions. References were marked by
energy or aligned, which is accurate to about 50 ms. A voice detector ends earlier at a soft ending, later at breath."""


@dataclass(frozen=True, slots=True)
class Received:
    """An event and its time of arrival, in ms of wall time since the stream's first sample was sent."""

    at_ms: float
    event: Event


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of the reference and its end, in ms of stream time."""

    text: str
    end_ms: float


@dataclass(frozen=True, slots=True)
class WordLatencies:
    """The latencies of each word of the reference, in ms from its end. None: the word never appeared.

    Attributes:
        shown: time until the word appeared in a partial or final.
        committed: time until the word appeared in `stable` or in a final.
    """

    shown: tuple[float | None, ...]
    committed: tuple[float | None, ...]


SAME_END_MS = 600
"""Largest distance between the end of speech in the reference and of its final. Ends that were marked by energy include
breath and noise. They are up to 500 ms after the last aligned word (99 clips, one of them 1000 ms)."""


def first_partial_latency_ms(received: Sequence[Received], speech_start_ms: float) -> float | None:
    """Return the time from the start of speech to the first caption with text; None: there was none."""
    for item in received:
        if isinstance(item.event, Partial | Final) and item.event.text:
            return item.at_ms - speech_start_ms
    return None


def final_latency_ms(received: Sequence[Received], speech_end_ms: float) -> float | None:
    """Return the time from the end of speech to the final that covers it; None: no final with text covers it.

    Of several that match, the last one covers it. The others ended a little before, at a cut or a short pause.
    """
    latency_ms = None
    for item in received:
        event = item.event
        if isinstance(event, Final) and event.text and event.start_ms < speech_end_ms <= event.end_ms + SAME_END_MS:
            latency_ms = item.at_ms - speech_end_ms
    return latency_ms


def word_latencies(received: Sequence[Received], words: Sequence[SpokenWord]) -> WordLatencies:
    """Return when each word of the reference first appeared in a caption of its time.

    A caption is aligned with the words that ended within its time. A word that is recognized wrongly, or that appears
    only in a caption of another time, counts as missing.
    """
    shown: list[float | None] = [None] * len(words)
    committed: list[float | None] = [None] * len(words)
    for item in received:
        event = item.event
        if not isinstance(event, Partial | Final):
            continue
        spoken = [i for i, word in enumerate(words) if event.start_ms < word.end_ms <= event.end_ms + SAME_SPEECH_MS]
        read = plain_words(event.text)
        n_committed = len(read) if isinstance(event, Final) else len(plain_words(event.stable))
        for in_caption, in_spoken in _matches(read, [_plain(words[i].text) for i in spoken]):
            word = spoken[in_spoken]
            latency_ms = item.at_ms - words[word].end_ms
            if shown[word] is None:
                shown[word] = latency_ms
            if committed[word] is None and in_caption < n_committed:
                committed[word] = latency_ms
    return WordLatencies(tuple(shown), tuple(committed))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the percentile of the values by nearest rank; None: there are no values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def plain_words(text: str) -> list[str]:
    """Return the words for a comparison: without case and punctuation, which captions change freely.

    A text of a language without spaces gives characters, because its characters are committed one by one.
    """
    return [word for word in map(_plain, units(text)) if word]


def _plain(word: str) -> str:
    # Remove apostrophes at the ends, because they may be quotation marks.
    return re.sub(r"[^\w']", "", word.casefold()).strip("'")


def _matches(read: list[str], spoken: list[str]) -> list[tuple[int, int]]:
    """Return pairs of indices of equal words, in order (Ratcliff and Obershelp 1988)."""
    blocks = SequenceMatcher(None, read, spoken, autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]
