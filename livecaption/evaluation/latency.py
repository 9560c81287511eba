"""Events with the times at which they came -> how long readers waited for what was said.

Wall time and stream time begin together, as audio is sent at the pace at which it was spoken; a
latency is the difference of the two. Pure: knows nothing of servers, files or clocks.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from livecaption.captions.stabilizer import units
from livecaption.events import Event, Final, Partial

SAME_SPEECH_MS = 300
"""How far the ends of the same speech may lie apart in the reference and in the server's eyes. References are marked by
energy or aligned, good to 50 ms or so; a detector of voice ends earlier at a soft ending and later at a breath."""


@dataclass(frozen=True, slots=True)
class Received:
    """An event, and when it came: ms of wall time since the stream's first sample was said."""

    at_ms: float
    event: Event


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of the reference and when it had been said, in ms of stream time."""

    text: str
    end_ms: float


@dataclass(frozen=True, slots=True)
class WordLatencies:
    """For each word of the reference, in ms from its end: None where it never came.

    Attributes:
        shown: until it could be read, in a partial or final.
        committed: until it could be relied on, in `stable` or a final.
    """

    shown: tuple[float | None, ...]
    committed: tuple[float | None, ...]


SAME_END_MS = 600
"""The same where an end is looked for and not a word: ends marked by energy include breath and noise, and lie up to
500 ms behind the last aligned word (99 clips, one of them 1000 ms)."""


def first_partial_latency_ms(received: Sequence[Received], speech_start_ms: float) -> float | None:
    """From the beginning of speech until something could be read; None: nothing ever."""
    for item in received:
        if isinstance(item.event, Partial | Final) and item.event.text:
            return item.at_ms - speech_start_ms
    return None


def final_latency_ms(received: Sequence[Received], speech_end_ms: float) -> float | None:
    """From the end of speech until the final that covers it; None: no final with text does."""
    for item in received:
        event = item.event
        if isinstance(event, Final) and event.text and event.start_ms < speech_end_ms <= event.end_ms + SAME_END_MS:
            return item.at_ms - speech_end_ms
    return None


def word_latencies(received: Sequence[Received], words: Sequence[SpokenWord]) -> WordLatencies:
    """When each word of the reference could first be read where it belongs.

    A caption is aligned with the words that ended within its time; a word that is recognized
    wrongly, or only in a caption of other speech, never came.
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
    """The smallest value that `percent` of the values do not exceed (nearest rank); None: no values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def plain_words(text: str) -> list[str]:
    """Words as they are compared: without case and punctuation, which captions change freely.

    Of a text without spaces each character, as it is committed one by one.
    """
    return [word for word in map(_plain, units(text)) if word]


def _plain(word: str) -> str:
    # An apostrophe at the end may be a quotation mark.
    return re.sub(r"[^\w']", "", word.casefold()).strip("'")


def _matches(read: list[str], spoken: list[str]) -> list[tuple[int, int]]:
    """Pairs of indices of equal words, in order (Ratcliff and Obershelp 1988)."""
    blocks = SequenceMatcher(None, read, spoken, autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]
