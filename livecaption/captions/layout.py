"""Finals -> cues, live text -> its last two lines: captions as a broadcaster sets them.

Lines have at most 37 columns (32 for CEA-608, 42 for Netflix), cues at most two lines. Lines and cues end after
punctuation and before conjunctions and prepositions, rather than between words that belong together. A cue is shown
from its first word for 0.83 to 7 s, never together with the next one, and past its last word for 1.5 s at most. What
two cues leave empty between them is nothing or at least 80 ms. (Figures: BBC Subtitle Guidelines; Netflix Timed Text
Style Guide, General Requirements. Of all breaks the cheapest is taken: Knuth and Plass, 1981.)

Each utterance begins its own cue: where a pause is, somebody else may speak. Only utterances that touch (a cut for
length, which is ours and not the speaker's) are set as one text.

Pure. Knows nothing of file formats. Text that runs from right to left stays in its spoken order; players reorder it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from livecaption.captions.line_breaking import PLAIN, BreakableText, width
from livecaption.events import Final

LINE_LENGTHS = (32, 37, 42)
"""Columns of CEA-608, of teletext (and of 68 % of a 16:9 picture, BBC), of Netflix. Full-width characters take two."""
DEFAULT_LINE_LENGTH = 37
MAX_LINES = 2

MIN_CUE_MS = 833
GOAL_CUE_MS = 1_000
"""How long a cue stays at least, unless the next one comes."""
MAX_CUE_MS = 7_000
MAX_HANG_MS = 1_500
"""Longest time that a cue stays after its last word (BBC)."""
MIN_GAP_MS = 80
"""A shorter gap is seen as a flash (Netflix: two frames)."""
CLOSED_GAP_MS = 500
"""A gap up to this is closed, if the cue may stay that long; a caption that goes for a moment flickers (Netflix)."""
READING_COLUMNS_PER_S = 17

# What costs something beside breaks.
_CUE = 60
"""As much as one and a half plain breaks, so that speech is not cut up without need."""
_CUE_BREAK_FACTOR = 2
"""Between two cues, a break takes twice as long to read across."""
_UNUSED = 40
"""Of a cue that is all empty; grows with the square."""
_UNEVEN = 60
"""Of a second line that is all empty; grows with the square. Half of it, if the second line is the longer one: that
covers less of the picture (Netflix, BBC)."""
_EARLY = 300
"""Of a live line that is all empty; grows with the square. After a comma, a line ends when it is two thirds full."""
_BAD_DURATION = 500
_PAUSE = 0.1
"""For each ms within a cue in which nobody speaks."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One or two lines, shown from `start_ms` to before `end_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def cues(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH) -> list[Cue]:
    """Cut finals, in spoken order, into cues.

    Within a final, cues follow the times of its words if it has them, and else the share of its characters.

    Args:
        finals: those that say nothing are left out.
        line_length: in columns, 2 or more.
    """
    growing = GrowingCues(line_length)
    return [cue for final in finals for cue in growing.push(final)] + growing.flush()


class GrowingCues:
    """The cues of a session that goes on: a cue comes out as soon as no later final can change it.

    That is when somebody speaks again after a pause: what touches an utterance is set with it, and how long its last
    cue stays depends on when the next one comes.
    """

    def __init__(self, line_length: int) -> None:
        self._line_length = line_length
        self._run: list[Final] = []  # utterances that touch
        self._free_from_ms = 0

    def push(self, final: Final) -> list[Cue]:
        """Take the next final; the cues that are settled now."""
        if not final.text.strip():
            return []
        last = self._run[-1] if self._run else None
        if last is not None and (last.end_ms, last.language) == (final.start_ms, final.language):
            self._run.append(final)
            return []
        settled = self._cues_of_run(final)
        self._run = [final]
        return settled

    def flush(self) -> list[Cue]:
        """Nothing follows; the cues that are left."""
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
            # It waits for the one before, which has to be read too: words may be said faster than they can be shown.
            start_ms = max(cue.start_ms, self._free_from_ms)
            self._free_from_ms = _end_ms(start_ms, cue, following_start_ms)
            shown.append(Cue(start_ms, self._free_from_ms, cue.lines))
        return shown


class RollUp:
    """The last two lines of one utterance while it is spoken.

    A line that is full stays as it is: what comes after it does not break it anew, so words that are shown do not move
    down. A revision moves a break only if the words before it have grown and no longer fit.
    """

    def __init__(self, language: str | None, line_length: int) -> None:
        self._language = language
        self._line_length = line_length
        self._breaks: list[int] = []

    def show(self, stable: str, tentative: str) -> list[tuple[str, str]]:
        """The text of a new revision -> at most two lines, each as its stable and its tentative part."""
        text = BreakableText(stable + tentative, self._language, self._line_length)
        self._breaks = self._kept(text)
        begin = self._breaks[-1] if self._breaks else 0
        for at in range(begin + 1, text.n_atoms):
            full = text.columns(begin, at + 1) > self._line_length
            unused = 1 - text.columns(begin, at) / self._line_length
            # Early, where that is better than the plain break that the line would get otherwise.
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
    """Utterances that touch, cut into cues that hold what is said while it is said."""

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
        # How long nobody speaks before each atom, summed up.
        pauses_ms = [start_ms - end_ms for start_ms, end_ms in zip(self._starts_ms[1:-1], self._ends_ms, strict=False)]
        self._pauses_ms = [0, *accumulate(pauses_ms, initial=0)]

    def cues(self) -> list[Cue]:
        """The cheapest way to cut it; their times are those of the speech."""
        # best[n]: what the first n atoms cost, and where their last cue and its second line begin.
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
        """What its lines cost, and where the second one begins (at `begin` if there is none)."""
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
        """Of a cue, apart from its lines."""
        columns = self._text.columns(begin, end)
        start_ms = self._starts_ms[begin]
        cost = _CUE + _UNUSED * (1 - columns / self._line_length / MAX_LINES) ** 2
        if end < self._text.n_atoms:
            cost += _CUE_BREAK_FACTOR * self._text.break_costs[end]
        if self._starts_ms[end] - start_ms < MIN_CUE_MS or self._ends_ms[end - 1] - start_ms > MAX_CUE_MS:
            cost += _BAD_DURATION
        return cost + _PAUSE * (self._pauses_ms[end] - self._pauses_ms[begin + 1])


def _end_ms(start_ms: int, said: Cue, next_start_ms: int | None) -> int:
    """When a cue that is shown from `start_ms` goes: when it is said and read, unless the next one comes."""
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
    """Start and end of each character that is no space."""
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
    """Where the first `n_characters` of a line end, not counting spaces; its end if it has not that many."""
    for at, character in enumerate(line):
        if n_characters <= 0:
            return at
        n_characters -= not character.isspace()
    return len(line)
