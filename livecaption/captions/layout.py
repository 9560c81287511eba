"""Lay out captions as broadcasters do: finals as cues, and the live text as its last two lines.

Lines have at most 37 columns (32 for CEA-608, 42 for Netflix), and cues at most two lines. Lines and cues end after
punctuation and before conjunctions and prepositions, rather than between words that belong together. A cue is shown
from its first word for 0.83 to 7 s, never together with the next one. It stays for at most 1.5 s after its last word.
Between two cues there is either no gap or one of at least 80 ms. (Figures: BBC Subtitle Guidelines; Netflix Timed Text
Style Guide, General Requirements. The cheapest of all possible breaks are chosen: Knuth and Plass, 1981.)

Each utterance begins its own cue, because after a pause another person may speak. Utterances without a pause between
them are set as one text. They come from a cut at the length limit, which is not the speaker's.

Pure. It does not depend on file formats. Text that runs from right to left stays in spoken order; players reorder it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from livecaption.captions.line_breaking import PLAIN, BreakableText, width
from livecaption.events import Final

LINE_LENGTHS = (32, 37, 42)
"""Columns of CEA-608, teletext (and 68 % of a 16:9 picture, BBC) and Netflix. Full-width characters take two."""
DEFAULT_LINE_LENGTH = 37
MAX_LINES = 2

MIN_CUE_MS = 833
GOAL_CUE_MS = 1_000
"""Least time of a cue, in ms, unless the next one comes. Shorter: people cannot read it. Longer: more cues wait."""
MAX_CUE_MS = 7_000
MAX_HANG_MS = 1_500
"""Longest time that a cue stays after its last word, in ms (BBC)."""
MIN_GAP_MS = 80
"""Least gap between cues, in ms. A shorter one looks like a flash (Netflix: two frames)."""
CLOSED_GAP_MS = 500
"""Longest gap that is closed, in ms, if the cue may stay that long. A caption that disappears for a moment flickers
(Netflix)."""
READING_COLUMNS_PER_S = 17

# Costs apart from breaks, in the unit of `line_breaking`.
_CUE = 60
"""Cost of a cue: that of one and a half plain breaks, so that speech is not cut up needlessly."""
_CUE_BREAK_FACTOR = 2
"""Factor of a break between two cues, because it interrupts reading more."""
_UNUSED = 40
"""Cost of a cue without text; it grows with the square of the unused part."""
_UNEVEN = 60
"""Cost of a second line without text; it grows with the square of the difference. It is halved if the second line is
the longer one, which covers less of the picture (Netflix, BBC)."""
_EARLY = 300
"""Cost of a live line without text; it grows with the square. After a comma, a line ends when it is two thirds full."""
_BAD_DURATION = 500
_PAUSE = 0.1
"""Cost of each ms within a cue in which nobody speaks."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One or two lines, shown from `start_ms` until just before `end_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def cues(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH) -> list[Cue]:
    """Cut finals, in spoken order, into cues.

    Within a final, cues follow the times of its words. Without times of words, the share of its characters counts.

    Args:
        finals: finals without text are left out.
        line_length: in columns, 2 or more.
    """
    growing = GrowingCues(line_length)
    return [cue for final in finals for cue in growing.push(final)] + growing.flush()


class GrowingCues:
    """The cues of a session that goes on. A cue is returned as soon as no later final can change it.

    That is the case when somebody speaks again after a pause. An utterance without a pause before it is set together
    with the preceding one. The end of the last cue depends on the next cue.
    """

    def __init__(self, line_length: int) -> None:
        self._line_length = line_length
        self._run: list[Final] = []  # utterances without pauses between them
        self._free_from_ms = 0

    def push(self, final: Final) -> list[Cue]:
        """Take the next final, and return the cues that can no longer change."""
        if not final.text.strip():
            return []
        last = self._run[-1] if self._run else None
        if last is not None and (last.end_ms, last.language) == (final.start_ms, final.language):
            self._run.append(final)
            return []
        complete = self._cues_of_run(final)
        self._run = [final]
        return complete

    def flush(self) -> list[Cue]:
        """Return the remaining cues, because no final follows."""
        left = self._cues_of_run(None)
        self._run = []
        return left

    def _cues_of_run(self, following: Final | None) -> list[Cue]:
        if not self._run:
            return []
        said = _Run(self._run, self._line_length, following.start_ms if following else None).cues()
        next_start_ms = None if following is None else max(0, _character_times_ms(following)[0][0])
        shown = []
        for cue, following_start_ms in zip(said, [*(cue.start_ms for cue in said[1:]), next_start_ms], strict=True):
            # It waits for the cue before, which people must read too: speech may be faster than captions can be shown.
            start_ms = max(cue.start_ms, self._free_from_ms)
            self._free_from_ms = _end_ms(start_ms, cue, following_start_ms)
            shown.append(Cue(start_ms, self._free_from_ms, cue.lines))
        return shown


class RollUp:
    """The last two lines of one utterance while it is spoken.

    A full line keeps its end: later text does not break it again, so the words that are shown do not move down. A
    revision moves a break only if the words before it have grown and no longer fit.
    """

    def __init__(self, language: str | None, line_length: int) -> None:
        self._language = language
        self._line_length = line_length
        self._breaks: list[int] = []

    def show(self, stable: str, tentative: str) -> list[tuple[str, str]]:
        """Return the text of a new revision as at most two lines, each a pair of its stable and its tentative part."""
        text = BreakableText(stable + tentative, self._language, self._line_length)
        self._breaks = self._kept(text)
        begin = self._breaks[-1] if self._breaks else 0
        for at in range(begin + 1, text.n_atoms):
            full = text.columns(begin, at + 1) > self._line_length
            unused = 1 - text.columns(begin, at) / self._line_length
            # End the line early if that is better than the plain break that it would get otherwise.
            if full or text.break_costs[at] + _EARLY * unused**2 < PLAIN:
                self._breaks.append(at)
                begin = at
        lines = [text.line(*ends) for ends in pairwise([0, *self._breaks, text.n_atoms])]
        n_stable = _n_characters(stable) - sum(map(_n_characters, lines[:-MAX_LINES]))
        shown = []
        for line in lines[-MAX_LINES:]:
            at = _offset(line, n_stable)
            shown.append((line[:at], line[at:]))
            n_stable -= _n_characters(line)
        return shown

    def _kept(self, text: BreakableText) -> list[int]:
        kept: list[int] = []
        begin = 0
        for at in self._breaks:
            if at >= text.n_atoms or text.columns(begin, at) > self._line_length:
                break
            kept.append(at)
            begin = at
        return kept


class _Run:
    """Utterances without pauses between them, cut into cues that show the words while they are spoken."""

    def __init__(self, finals: Sequence[Final], line_length: int, next_start_ms: int | None) -> None:
        self._line_length = line_length
        self._text = BreakableText(" ".join(final.text for final in finals), finals[0].language, line_length)
        characters_ms = [times_ms for final in finals for times_ms in _character_times_ms(final)]
        self._starts_ms: list[int] = []
        ends_ms: list[int] = []
        at_ms = n_characters = 0
        for atom in self._text.atoms:
            at_ms = max(at_ms, characters_ms[n_characters][0])
            n_characters += len(atom.text)
            self._starts_ms.append(at_ms)
            ends_ms.append(max(at_ms, characters_ms[n_characters - 1][1]))
        # A model may let a word end after the next one has begun.
        self._ends_ms = [*map(min, ends_ms, self._starts_ms[1:]), ends_ms[-1]]
        self._starts_ms.append(ends_ms[-1] + MAX_CUE_MS if next_start_ms is None else next_start_ms)
        # Sum of the pauses before each atom.
        pauses_ms = [start_ms - end_ms for start_ms, end_ms in zip(self._starts_ms[1:-1], self._ends_ms, strict=False)]
        self._pauses_ms = [0, *accumulate(pauses_ms, initial=0)]

    def cues(self) -> list[Cue]:
        """Return the cheapest cues. Their times are those of the speech."""
        # best[n]: the cost of the first n atoms, and the beginning of their last cue and of its second line.
        best: list[tuple[float, int, int]] = [(0, 0, 0)]
        for end in range(1, self._text.n_atoms + 1):
            candidates = []
            for begin in range(end - 1, -1, -1):
                if self._text.columns(begin, end) > MAX_LINES * self._line_length + 1:
                    break
                shape, second = self._cheapest_shape(begin, end)
                candidates.append((best[begin][0] + shape + self._cost(begin, end), begin, second))
            best.append(min(candidates))
        cues: list[Cue] = []
        end = self._text.n_atoms
        while end:
            _, begin, second = best[end]
            lines = tuple(self._text.line(*ends) for ends in pairwise(sorted({begin, second, end})))
            cues.append(Cue(self._starts_ms[begin], self._ends_ms[end - 1], lines))
            end = begin
        return cues[::-1]

    def _cheapest_shape(self, begin: int, end: int) -> tuple[float, int]:
        """Return the cost of the cue's lines, and the beginning of the second one (`begin` if there is none)."""
        if self._text.columns(begin, end) <= self._line_length:
            return 0, begin
        cheapest: tuple[float, int] = (math.inf, begin)
        for second in range(end - 1, begin, -1):
            lower = self._text.columns(second, end)
            if lower > self._line_length:
                break
            upper = self._text.columns(begin, second)
            if upper <= self._line_length:
                uneven = ((upper - lower) / self._line_length) ** 2 * _UNEVEN
                cost = self._text.break_costs[second] + (uneven if upper > lower else uneven / 2)
                cheapest = min(cheapest, (cost, second))
        return cheapest

    def _cost(self, begin: int, end: int) -> float:
        """Return the cost of a cue, without its lines."""
        columns = self._text.columns(begin, end)
        start_ms = self._starts_ms[begin]
        cost = _CUE + _UNUSED * (1 - columns / self._line_length / MAX_LINES) ** 2
        if end < self._text.n_atoms:
            cost += _CUE_BREAK_FACTOR * self._text.break_costs[end]
        if self._starts_ms[end] - start_ms < MIN_CUE_MS or self._ends_ms[end - 1] - start_ms > MAX_CUE_MS:
            cost += _BAD_DURATION
        return cost + _PAUSE * (self._pauses_ms[end] - self._pauses_ms[begin + 1])


def _end_ms(start_ms: int, said: Cue, next_start_ms: int | None) -> int:
    """Return the end of a cue that is shown from `start_ms`.

    It ends when the words are over and people had time to read them, or when the next cue comes.
    """
    said_ms = max(said.end_ms, start_ms)
    read_ms = -(-sum(map(width, said.lines)) * 1000 // READING_COLUMNS_PER_S)
    latest_ms = min(said_ms + MAX_HANG_MS, start_ms + MAX_CUE_MS)
    end_ms = min(max(said_ms, start_ms + max(read_ms, GOAL_CUE_MS)), latest_ms)
    if next_start_ms is None:
        return end_ms
    if next_start_ms <= min(end_ms + CLOSED_GAP_MS, latest_ms):
        return max(next_start_ms, start_ms + MIN_CUE_MS)
    return min(end_ms, next_start_ms - MIN_GAP_MS)


def _character_times_ms(final: Final) -> list[tuple[int, int]]:
    """Return the start and end of each character that is not a space."""
    characters = "".join(final.text.split())
    words = final.words or ()
    if "".join("".join(word.word.split()) for word in words) == characters:
        return [
            (_within(final, word.start_ms), _within(final, word.end_ms))
            for word in words
            for _ in range(_n_characters(word.word))
        ]
    duration_ms = final.end_ms - final.start_ms
    edges = [final.start_ms + duration_ms * n // len(characters) for n in range(len(characters) + 1)]
    return list(pairwise(edges))


def _within(final: Final, at_ms: int) -> int:
    return min(max(at_ms, final.start_ms), final.end_ms)


def _n_characters(text: str) -> int:
    return len("".join(text.split()))


def _offset(line: str, n_characters: int) -> int:
    """Return the end of the first `n_characters` of a line, not counting spaces, or the line's end if it has fewer."""
    for at, character in enumerate(line):
        if n_characters <= 0:
            return at
        n_characters -= not character.isspace()
    return len(line)
