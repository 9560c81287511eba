"""Split successive hypotheses of one utterance into a committed prefix and a tentative tail.

The method is local agreement: Liu, Spanakis, Niehues 2020, "Low-latency sequence-to-sequence speech recognition and
translation by partial hypothesis selection". Here hypotheses must agree over a time, not over a number of hypotheses.
Words on which all hypotheses of the last second of audio agree are committed. Later partials never take them back. If a
later hypothesis differs from the committed words, its tail begins after the prefix that is nearest to them. The newest
word of the tail is held back, because it may be half a word. In noise, where hypotheses often agree on wrong words,
nothing is committed before the final.

The gain of these choices, and the rejected ones: docs/decisions/0016-stable-text.md.
"""

import itertools
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_UNIT = re.compile(rf"[{_CJK}]\s*|[^\s{_CJK}]+\s*")
_IS_CJK = re.compile(f"[{_CJK}]")
_NOT_A_WORD_CHARACTER = re.compile(r"\W+")


_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
"""Numbers as digits. A model writes the same number sometimes as a word and sometimes in digits."""
MAX_REPETITIONS = 2
"""Repetitions of the same words in a row that may be committed. More are a loop of the decoder, or real and then in the
final. Fewer: real repetitions are committed late. More: loops are committed."""

AGREEMENT_MS = 1000
"""Audio in ms over which hypotheses must agree: three at an interval of 500 ms, two at a longer one. Less: worse text.
More: words are committed later. See docs/decisions/0016-stable-text.md."""

UNDECIDED_MS = 3000
"""Audio in ms without a newly committed word. After it, a word that each hypothesis spells differently, such as a name,
no longer delays the words after it: docs/decisions/0016-stable-text.md."""
MAX_UNDECIDED = 2
"""Words in a row that may be committed by that rule."""


class Unit(str):
    """A word with the space after it, or one character of a language without spaces."""

    @cached_property
    def key(self) -> str:
        """The unit without case and punctuation, by which units are compared. Each is compared many times."""
        key = _NOT_A_WORD_CHARACTER.sub("", self).casefold()
        return _NUMBERS.get(key, key)


def units(text: str) -> list[Unit]:
    """Split a text into the units that hypotheses agree on: words with the space after them.

    An ideograph, kana or syllable of Hangul is a unit of its own, because such text has few spaces or none.
    """
    return [Unit(unit) for unit in _UNIT.findall(text.strip())]


@dataclass(frozen=True, slots=True)
class Caption:
    """The text of an open utterance. `text` begins with `stable`, which later captions keep."""

    text: str
    stable: str


class Stabilizer:
    """The committed and the shown words of one utterance. Each utterance needs a new one."""

    def __init__(self) -> None:
        self._committed: list[Unit] = []
        self._recent: deque[tuple[int, list[Unit]]] = deque()
        self._shown_tail: list[Unit] = []
        self._recognized_tail: list[Unit] = []  # of the previous hypothesis
        self._progress_ms: int | None = None  # stream time when words were last committed, or of the first hypothesis

    @property
    def committed(self) -> str:
        """The text with which later captions of the utterance begin."""
        return "".join(self._committed).rstrip()

    def push(self, text: str, audio_end_ms: int, *, at_pause: bool = False, noisy: bool = False) -> Caption:
        """Take the next hypothesis.

        Args:
            text: the hypothesis.
            audio_end_ms: stream time of the newest audio that it covers; never less than before.
            at_pause: True if that audio is silence, so that the last word is complete.
            noisy: True if no word may be committed, because the speech is in noise.
        """
        current = units(text)
        n_covered = _n_covered(self._committed, current)
        n_agreed = self._n_agreed(current, audio_end_ms)
        if self._progress_ms is None or noisy:
            self._progress_ms, n_agreed = audio_end_ms, 0
        if n_agreed <= n_covered and audio_end_ms - self._progress_ms >= UNDECIDED_MS:
            n_agreed = self._n_agreed_behind_doubt(current, n_covered)
        if n_agreed > n_covered:
            n_agreed = self._n_committable(current, n_covered, n_agreed)
        if n_agreed > n_covered:
            self._progress_ms = audio_end_ms
            self._append(current[n_covered:n_agreed])
            self._shown_tail = _behind(self._shown_tail, current[n_covered:n_agreed])
            self._recognized_tail = _behind(self._recognized_tail, current[n_covered:n_agreed])
            n_covered = n_agreed
        self._recent.append((audio_end_ms, current))
        stable = self.committed
        recognized_tail = current[n_covered:] if at_pause else current[n_covered:-1]
        self._shown_tail = _steadied(self._shown_tail, self._recognized_tail, recognized_tail)
        self._recognized_tail = recognized_tail
        tail = "".join(self._shown_tail)
        # If hypotheses were cut differently, the space between the two may belong to neither.
        gap = " " if stable and n_covered and current[n_covered - 1][-1].isspace() else ""
        return Caption((stable + gap + tail).rstrip(), stable)

    def final(self, text: str) -> str:
        """Return the text of the final. Its decoder was made to begin with the committed text.

        The decoder may have extended the last committed word ("may" -> "maying"). Then the committed text stays.
        """
        said = units(text)
        if _n_agreed(self._committed, said) == len(self._committed):
            return text
        return " ".join(filter(None, [self.committed, "".join(said[_n_covered(self._committed, said) :])]))

    def _n_agreed(self, current: Sequence[Unit], audio_end_ms: int) -> int:
        """Count the leading units that all hypotheses since `AGREEMENT_MS` ago share. Forget older hypotheses."""
        while len(self._recent) > 1 and audio_end_ms - self._recent[1][0] >= AGREEMENT_MS:
            self._recent.popleft()
        if not self._recent or audio_end_ms - self._recent[0][0] < AGREEMENT_MS:
            return 0
        return min(_n_agreed(previous, current) for _, previous in self._recent)

    def _n_agreed_behind_doubt(self, current: Sequence[Unit], n_covered: int) -> int:
        """Count the leading units to commit if the hypotheses agree again after units on which they differ.

        They must agree on two units in a row, because one may agree by chance. The units that differ are committed as
        readers see them. If readers see other units than `current` has, the result is 0.
        """
        keys, shown = [unit.key for unit in current], [unit.key for unit in self._shown_tail]
        agreed = set(range(len(keys)))
        for _, previous in self._recent:
            agreed &= _shared(keys, [unit.key for unit in previous])
        for begin in range(n_covered + 1, n_covered + 1 + MAX_UNDECIDED):
            if agreed.issuperset((begin, begin + 1)):
                if keys[n_covered : begin + 2] != shown[: begin + 2 - n_covered]:
                    return 0
                return next(n for n in itertools.count(begin) if n not in agreed)
        return 0

    def _n_committable(self, current: Sequence[Unit], n_covered: int, n_agreed: int) -> int:
        """Count the leading units that may be committed without a loop in the committed text."""
        keys = [unit.key for unit in (*self._committed, *current[n_covered:n_agreed])]
        return n_covered + _n_before_loop(keys) - len(self._committed)

    def _append(self, new: Sequence[Unit]) -> None:
        if self._committed and not self._committed[-1][-1].isspace() and not _IS_CJK.match(new[0]):
            self._committed[-1] = Unit(self._committed[-1] + " ")
        self._committed += new


def _behind(tail: list[Unit], committed: Sequence[Unit]) -> list[Unit]:
    """Return the tail after the committed units, or nothing if it does not begin with them."""
    return tail[len(committed) :] if _n_agreed(tail, committed) == len(committed) else []


def _steadied(shown: list[Unit], before: Sequence[Unit], now: list[Unit]) -> list[Unit]:
    """Return the tail to show, given the tail `now` of the newest hypothesis and the tail `shown` that readers see.

    A change within the shown tail needs two hypotheses in a row, `before` and the newest one. Otherwise one word on
    which the model wavers would take back all words after it each time. The end of the tail is always the newest.
    """
    keys, shown_keys = [unit.key for unit in now], [unit.key for unit in shown]
    if not now or keys[: len(shown)] == shown_keys:
        return now  # as nearly always
    keys_before = [unit.key for unit in before]
    tail: list[Unit] = []
    matcher = SequenceMatcher(None, shown_keys, keys, autojunk=False)
    for kind, shown_from, shown_to, from_, to in matcher.get_opcodes():
        is_end = shown_to == len(shown) or to == len(now)
        # With its neighbours, so that a deletion can be found too.
        if kind == "equal" or is_end or _contains(keys_before, keys[max(0, from_ - 1) : to + 1]):
            tail += now[from_:to]
        else:
            tail += shown[shown_from:shown_to]
    return tail


def _shared(keys: Sequence[str], others: Sequence[str]) -> set[int]:
    """Return the indices of `keys` that are also in `others`, in the same order."""
    blocks = SequenceMatcher(None, others, keys, autojunk=False).get_matching_blocks()
    return {n for block in blocks for n in range(block.b, block.b + block.size)}


def _contains(keys: list[str], part: list[str]) -> bool:
    return any(keys[start : start + len(part)] == part for start in range(len(keys) - len(part) + 1))


def _n_covered(committed: Sequence[Unit], current: Sequence[Unit]) -> int:
    """Count the leading units of `current` that match the committed units: its prefix that is nearest to them.

    The distance is the edit distance over units (Levenshtein 1966). Among equal prefixes, one that ends with the last
    committed unit wins, then the one whose length is nearest to that of the committed units.
    """
    targets, keys = [unit.key for unit in committed], [unit.key for unit in current]
    if keys[: len(targets)] == targets:
        return len(targets)  # as nearly always; no other prefix has the distance 0
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


def _n_agreed(previous: Sequence[Unit], current: Sequence[Unit]) -> int:
    """Count the leading units that two hypotheses share, ignoring case and punctuation."""
    n = 0
    for before, now in zip(previous, current, strict=False):
        if before.key != now.key:
            break
        n += 1
    return n


def _n_before_loop(keys: Sequence[str]) -> int:
    """Count the leading units before any words repeat more than `MAX_REPETITIONS` times in a row."""
    for end in range(1, len(keys) + 1):
        for period in range(1, end // (MAX_REPETITIONS + 1) + 1):
            start = end - (MAX_REPETITIONS + 1) * period
            if keys[start : end - period] == keys[start + period : end]:
                return end - period
    return len(keys)
