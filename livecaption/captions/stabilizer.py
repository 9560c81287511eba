"""Successive hypotheses of one utterance -> committed prefix and tentative tail.

LocalAgreement-2 (Liu, Spanakis, Niehues 2020, "Low-latency sequence-to-sequence speech
recognition and translation by partial hypothesis selection"): what two successive hypotheses
agree on is committed and never taken back by a later partial. Where a later hypothesis differs
from what is committed, its tail begins behind the part of it that is nearest to that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# One ideograph, kana or Hangul syllable is a unit of its own, because such text has no spaces to
# cut at; every other unit is a run of non-space with the space behind it.
_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_UNIT = re.compile(rf"[{_CJK}]\s*|[^\s{_CJK}]+\s*")
_IS_CJK = re.compile(f"[{_CJK}]")
_NOT_A_WORD_CHARACTER = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Caption:
    """The text of an open utterance. `text` begins with `stable`, which later captions keep."""

    text: str
    stable: str


class Stabilizer:
    """Holds what is committed of one utterance. Use a new one for each utterance."""

    def __init__(self) -> None:
        self._committed: list[str] = []
        self._previous: list[str] = []

    def push(self, text: str) -> Caption:
        """Take the next hypothesis; it heard at least as much audio as the one before."""
        current = _UNIT.findall(text.strip())
        n_covered = _n_covered(self._committed, current)
        n_agreed = _n_agreed(self._previous, current)
        if n_agreed > n_covered:
            self._append(current[n_covered:n_agreed])
            n_covered = n_agreed
        self._previous = current
        stable = "".join(self._committed).rstrip()
        tail = "".join(current[n_covered:])
        # Where hypotheses were cut differently, the space between the two may belong to neither.
        gap = " " if stable and n_covered and current[n_covered - 1][-1].isspace() else ""
        return Caption((stable + gap + tail).rstrip(), stable)

    def _append(self, units: Sequence[str]) -> None:
        if self._committed and not self._committed[-1][-1].isspace() and not _IS_CJK.match(units[0]):
            self._committed[-1] += " "
        self._committed += units


def _n_covered(committed: Sequence[str], current: Sequence[str]) -> int:
    """How many leading units of `current` say what is committed: the prefix that is nearest to it.

    Nearest by edit distance over units (Levenshtein 1966); among equals, one that ends with the
    last committed unit, then one as long as what is committed.
    """
    targets, keys = [_key(unit) for unit in committed], [_key(unit) for unit in current]
    distances = list(range(len(keys) + 1))
    for n_target, target in enumerate(targets, 1):
        diagonal, distances[0] = distances[0], n_target
        for n, key in enumerate(keys, 1):
            diagonal, distances[n] = (
                distances[n],
                min(diagonal + (key != target), distances[n] + 1, distances[n - 1] + 1),
            )

    def badness(n: int) -> tuple[int, bool, int]:
        ends_alike = n > 0 and bool(targets) and keys[n - 1] == targets[-1]
        return distances[n], not ends_alike, abs(n - len(targets))

    return min(range(len(keys) + 1), key=badness)


def _n_agreed(previous: Sequence[str], current: Sequence[str]) -> int:
    """Leading units that two hypotheses share, but for case and punctuation."""
    n = 0
    for before, now in zip(previous, current, strict=False):
        if _key(before) != _key(now):
            break
        n += 1
    return n


def _key(unit: str) -> str:
    return _NOT_A_WORD_CHARACTER.sub("", unit).casefold()
