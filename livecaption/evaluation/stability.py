"""Measure how many words of shown captions were changed or removed later. Pure.

Words are compared without case and punctuation, because a reader does not take a moved comma for a new word.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from livecaption.evaluation.latency import plain_words
from livecaption.events import Event, Final, Partial


@dataclass(frozen=True, slots=True)
class Stability:
    """Sums over the utterances of a stream.

    Attributes:
        final_words: number of words in the finals.
        taken_back: words that were shown and then changed or removed. In each caption these are the words after the
            part that the next caption repeats (erasure; Arivazhagan et al. 2020).
        committed_taken_back: words of `stable` that a later partial or the final did not keep.
            The protocol guarantees 0 for partials.
    """

    final_words: int = 0
    taken_back: int = 0
    committed_taken_back: int = 0

    @property
    def erasure(self) -> float:
        """Words taken back per final word (normalized erasure); 0 if there are no finals."""
        return self.taken_back / self.final_words if self.final_words else 0.0

    def __add__(self, other: "Stability") -> "Stability":
        return Stability(
            self.final_words + other.final_words,
            self.taken_back + other.taken_back,
            self.committed_taken_back + other.committed_taken_back,
        )


def stability(events: Iterable[Event]) -> Stability:
    """Compare the captions of every utterance, from its first partial to its final."""
    shown: dict[int, list[str]] = {}
    committed: dict[int, list[str]] = {}
    final_words = taken_back = committed_taken_back = 0
    for event in events:
        if not isinstance(event, Partial | Final):
            continue
        words = plain_words(event.text)
        taken_back += _lost(shown.get(event.utterance, []), words)
        committed_taken_back += _lost(committed.get(event.utterance, []), words)
        shown[event.utterance] = words
        if isinstance(event, Final):
            final_words += len(words)
        else:
            committed[event.utterance] = plain_words(event.stable)
    return Stability(final_words, taken_back, committed_taken_back)


def _lost(before: Sequence[str], after: Sequence[str]) -> int:
    kept = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    return len(before) - sum(1 for _ in kept)
