"""Successive hypotheses of one utterance -> committed prefix and tentative tail.

Local agreement (Liu, Spanakis, Niehues 2020, "Low-latency sequence-to-sequence speech recognition
and translation by partial hypothesis selection"), over a time and not over a number of hypotheses:
what all hypotheses of the last second of audio agree on is committed and never taken back by a later
partial. Where a later hypothesis differs from what is committed, its tail begins behind the part
of it that is nearest to that. The newest word of the tail is kept back, as it may be half a word.

What these choices gain, and what was rejected: docs/decisions/0016-stable-text.md.
"""

import itertools
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_UNIT = re.compile(rf"[{_CJK}]\s*|[^\s{_CJK}]+\s*")
_IS_CJK = re.compile(f"[{_CJK}]")
_NOT_A_WORD_CHARACTER = re.compile(r"\W+")


_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
"""A model writes the same number now as a word and now in digits."""
MAX_REPETITIONS = 2
"""Of the same words in a row that may be committed; more are a loop of the decoder, or are said in earnest and then
come with the final."""

AGREEMENT_MS = 1000
"""Audio over which hypotheses must agree: three of them at 500 ms, two at a slower pace. Less: worse text.
More: words are committed later. docs/decisions/0016-stable-text.md."""

UNDECIDED_MS = 3000
"""Audio without a newly committed word after which one that hypotheses spell differently each time, like a name, holds
up those behind it no longer: docs/decisions/0016-stable-text.md."""
MAX_UNDECIDED = 2
"""Words in a row that may be committed so."""


def units(text: str) -> list[str]:
    """What agrees or does not: words with the space behind them.

    An ideograph, kana or syllable of Hangul is a unit of its own: such text has no spaces to cut at, or few.
    """
    return _UNIT.findall(text.strip())


@dataclass(frozen=True, slots=True)
class Caption:
    """The text of an open utterance. `text` begins with `stable`, which later captions keep."""

    text: str
    stable: str


class Stabilizer:
    """Holds what is committed of one utterance. Use a new one for each utterance."""

    def __init__(self) -> None:
        self._committed: list[str] = []
        self._recent: deque[tuple[int, list[str]]] = deque()
        self._shown_tail: list[str] = []
        self._recognized_tail: list[str] = []  # by the hypothesis before
        self._progress_ms: int | None = None  # audio heard when words were last committed, or first came

    @property
    def committed(self) -> str:
        """What later captions of the utterance begin with."""
        return "".join(self._committed).rstrip()

    def push(self, text: str, audio_end_ms: int, *, at_pause: bool = False) -> Caption:
        """Take the next hypothesis.

        Args:
            audio_end_ms: stream time of the newest audio that it heard; never less than before.
            at_pause: that audio is silence, so the last word is whole.
        """
        current = units(text)
        n_covered = _n_covered(self._committed, current)
        n_agreed = self._n_agreed(current, audio_end_ms)
        if self._progress_ms is None:
            self._progress_ms = audio_end_ms
        if n_agreed <= n_covered and audio_end_ms - self._progress_ms >= UNDECIDED_MS:
            n_agreed = self._n_agreed_behind_doubt(current, n_covered)
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
        # Where hypotheses were cut differently, the space between the two may belong to neither.
        gap = " " if stable and n_covered and current[n_covered - 1][-1].isspace() else ""
        return Caption((stable + gap + tail).rstrip(), stable)

    def final(self, text: str) -> str:
        """The text of the final, whose decoder was told to begin with what is committed.

        It may have made more of the last word than was promised ("may" -> "maying"): readers keep what they have.
        """
        said = units(text)
        if _n_agreed(self._committed, said) == len(self._committed):
            return text
        return " ".join(filter(None, [self.committed, "".join(said[_n_covered(self._committed, said) :])]))

    def _n_agreed(self, current: Sequence[str], audio_end_ms: int) -> int:
        """Leading units that all hypotheses from `AGREEMENT_MS` ago until now share; forgets older ones."""
        while len(self._recent) > 1 and audio_end_ms - self._recent[1][0] >= AGREEMENT_MS:
            self._recent.popleft()
        if not self._recent or audio_end_ms - self._recent[0][0] < AGREEMENT_MS:
            return 0
        return min(_n_agreed(previous, current) for _, previous in self._recent)

    def _n_agreed_behind_doubt(self, current: Sequence[str], n_covered: int) -> int:
        """Leading units to commit where the hypotheses agree again behind units that they do not agree on.

        Two units in a row, else they may have met by chance. The doubtful ones are committed as readers see them: 0
        while those see other ones.
        """
        keys, shown = [_key(unit) for unit in current], [_key(unit) for unit in self._shown_tail]
        agreed = set(range(len(keys)))
        for _, previous in self._recent:
            agreed &= _shared(keys, [_key(unit) for unit in previous])
        for begin in range(n_covered + 1, n_covered + 1 + MAX_UNDECIDED):
            if agreed.issuperset((begin, begin + 1)):
                if keys[n_covered : begin + 2] != shown[: begin + 2 - n_covered]:
                    return 0
                return next(n for n in itertools.count(begin) if n not in agreed)
        return 0

    def _n_committable(self, current: Sequence[str], n_covered: int, n_agreed: int) -> int:
        """Leading units that may be committed, so that they and what is committed already hold no loop."""
        keys = [_key(unit) for unit in (*self._committed, *current[n_covered:n_agreed])]
        return n_covered + _n_before_loop(keys) - len(self._committed)

    def _append(self, new: Sequence[str]) -> None:
        if self._committed and not self._committed[-1][-1].isspace() and not _IS_CJK.match(new[0]):
            self._committed[-1] += " "
        self._committed += new


def _behind(tail: list[str], committed: Sequence[str]) -> list[str]:
    """What of a tail lies behind the units that were committed of it; nothing where it said otherwise."""
    return tail[len(committed) :] if _n_agreed(tail, committed) == len(committed) else []


def _steadied(shown: list[str], before: Sequence[str], now: list[str]) -> list[str]:
    """The tail to show where `now` is what was heard and `shown` what readers see.

    What `now` changes in the midst of that is changed only if the hypothesis `before` said so too: one word that the
    model cannot make up its mind about would take all behind it back each time. Its end is always news.
    """
    if not shown or not now:
        return now
    keys, keys_before = [_key(unit) for unit in now], [_key(unit) for unit in before]
    tail: list[str] = []
    matcher = SequenceMatcher(None, [_key(unit) for unit in shown], keys, autojunk=False)
    for kind, shown_from, shown_to, from_, to in matcher.get_opcodes():
        is_end = shown_to == len(shown) or to == len(now)
        # With its neighbours, so that a deletion can be found too.
        if kind == "equal" or is_end or _contains(keys_before, keys[max(0, from_ - 1) : to + 1]):
            tail += now[from_:to]
        else:
            tail += shown[shown_from:shown_to]
    return tail


def _shared(keys: Sequence[str], others: Sequence[str]) -> set[int]:
    """Indices of `keys` that are in `others` too, in the same order."""
    blocks = SequenceMatcher(None, others, keys, autojunk=False).get_matching_blocks()
    return {n for block in blocks for n in range(block.b, block.b + block.size)}


def _contains(keys: list[str], part: list[str]) -> bool:
    return any(keys[start : start + len(part)] == part for start in range(len(keys) - len(part) + 1))


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


def _n_before_loop(keys: Sequence[str]) -> int:
    """Leading units before any words are said for more than the `MAX_REPETITIONS`th time in a row."""
    for end in range(1, len(keys) + 1):
        for period in range(1, end // (MAX_REPETITIONS + 1) + 1):
            start = end - (MAX_REPETITIONS + 1) * period
            if keys[start : end - period] == keys[start + period : end]:
                return end - period
    return len(keys)


def _key(unit: str) -> str:
    key = _NOT_A_WORD_CHARACTER.sub("", unit).casefold()
    return _NUMBERS.get(key, key)
