"""Give each character of a final its time, by the times of its words. Pure."""

from collections.abc import Iterable
from itertools import pairwise, takewhile

from livecaption.events import Final

Times = list[tuple[int, int]]
"""Starts and ends in ms of the stream."""


def character_times_ms(final: Final) -> Times:
    """Return the start and end of each character that is not a space. A character has the times of its word.

    The text may have other characters than the words, because committed words stay where the engine has changed its
    mind. These share the time of those that they replace, or of a word beside them. Without words, all share the time
    of the final.
    """
    characters = "".join(final.text.split())
    timed = [
        (character, (_within(final, word.start_ms), _within(final, word.end_ms)))
        for word in final.words or ()
        for character in "".join(word.word.split())
    ]
    heard = "".join(character for character, _ in timed)
    times = [each for _, each in timed]
    n_before = _n_alike(characters, heard)
    n_after = _n_alike(reversed(characters[n_before:]), reversed(heard[n_before:]))
    before, replaced, after = times[:n_before], times[n_before : len(times) - n_after], times[len(times) - n_after :]
    shared = replaced or before[-1:] or after[:1] or [(final.start_ms, final.end_ms)]
    return before + _among(shared[0][0], shared[-1][1], len(characters) - n_before - n_after) + after


def _within(final: Final, at_ms: int) -> int:
    return min(max(at_ms, final.start_ms), final.end_ms)


def _n_alike(one: Iterable[str], other: Iterable[str]) -> int:
    """Count the first characters that are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _among(start_ms: int, end_ms: int, n: int) -> Times:
    """Share a time among `n` characters."""
    duration_ms = max(0, end_ms - start_ms)  # a model may let a word end after the next one has begun
    return list(pairwise(start_ms + duration_ms * i // n for i in range(n + 1))) if n else []
