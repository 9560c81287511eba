"""Lay out captions as broadcasters do: finals as cues, and the live text as its last two lines.

Lines have at most 37 columns (32 for CEA-608, 42 for Netflix), and cues at most two lines. Lines and cues end after
punctuation and before conjunctions and prepositions, rather than between words that belong together. A cue is shown
from its first word for 0.83 to 7 s, never together with the next one. It stays for at most 1.5 s after its last word.
Between two cues there is either no gap or one of at least 80 ms. (Figures: BBC Subtitle Guidelines; Netflix Timed Text
Style Guide, General Requirements. The cheapest of all possible breaks are chosen: Knuth and Plass, 1981.)

Channels that are kept apart are laid out apart: their cues overlap where people speak at the same time. In a channel,
each utterance begins its own cue, because after a pause another person may speak. So does each turn. An utterance of
the same speaker without a pause before it is set together with the cue that it continues. It comes from a cut at the
length limit, which is not the speaker's.

Pure. It does not depend on file formats. Text that runs from right to left stays in spoken order; players reorder it.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from livecaption.captions.character_times import Times, character_times_ms
from livecaption.captions.labels import NO_NAMES, Names, in_turns, label, n_characters, prefix
from livecaption.captions.line_breaking import PLAIN, BreakableText, shortened, width
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
CHANNELS_WAIT_MS = 120_000
"""Time in ms after which no final of another channel is expected before a cue. An utterance has 28 s at most, and 90 s
of audio may wait for finals. More: the subtitles of a running session come later. Less: they may be out of order."""

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
    """One or two lines, shown from `start_ms` until just before `end_ms`.

    `channel` is that of the finals. `voice` is the name of the speaker or the channel; empty: none is distinguished.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    channel: int | None = None
    voice: str = ""


def cues(
    finals: Iterable[Final],
    line_length: int = DEFAULT_LINE_LENGTH,
    names: Names = NO_NAMES,
    *,
    labelled: bool = False,
) -> list[Cue]:
    """Cut finals into cues, in the order of their starts.

    Within a final, cues follow the times of its words. Without times of words, the share of its characters counts.
    Channels that are kept apart are laid out apart, so their cues may overlap.

    Args:
        finals: in spoken order, at least within a channel; finals without text are left out.
        line_length: in columns, 2 or more.
        names: the names of speakers.
        labelled: whether lines have the name of the speaker where another one speaks, and of the channel in each cue.
    """
    growing = GrowingCues(line_length, labelled=labelled)
    return [cue for final in finals for cue in growing.push(final, names)] + growing.flush()


class GrowingCues:
    """The cues of a session that goes on, in the order of their starts.

    A cue is returned as soon as no later final can change it. If channels are kept apart, it is also held back for
    `CHANNELS_WAIT_MS`, because a cue of another channel may have to come before it.
    """

    def __init__(self, line_length: int, *, labelled: bool = False) -> None:
        self._line_length = line_length
        self._labelled = labelled
        self._channels: dict[int | None, _ChannelCues] = {}
        self._complete: list[Cue] = []

    def push(self, final: Final, names: Names = NO_NAMES) -> list[Cue]:
        """Take the next final, and return the cues that can no longer change. Their speakers have these names."""
        if final.channel not in self._channels:
            self._channels[final.channel] = _ChannelCues(self._line_length, final.channel, labelled=self._labelled)
        channel = self._channels[final.channel]
        complete = [cue for turn in in_turns(final) for cue in channel.push(turn, label(turn, names))]
        if final.channel is None:
            return complete
        self._complete += complete
        return self.settle(final.end_ms - CHANNELS_WAIT_MS)

    def settle(self, at_ms: int) -> list[Cue]:
        """Return the cues that can no longer change, if all later finals begin at this time or later."""
        complete = [cue for channel in self._channels.values() for cue in channel.flush_before(at_ms)]
        self._complete = sorted([*self._complete, *complete], key=_in_time)
        due_ms = min([at_ms, *(channel.start_ms for channel in self._channels.values())])
        n_due = bisect_left(self._complete, due_ms, key=lambda cue: cue.start_ms)
        due, self._complete = self._complete[:n_due], self._complete[n_due:]
        return due

    @property
    def start_ms(self) -> float:
        """Start of the earliest speech whose cues are not returned yet; infinite: there is none."""
        held = [cue.start_ms for cue in self._complete[:1]]
        return min([math.inf, *held, *(channel.start_ms for channel in self._channels.values())])

    def flush(self) -> list[Cue]:
        """Return the remaining cues, because no final follows."""
        left = [cue for channel in self._channels.values() for cue in channel.flush()]
        complete, self._complete = self._complete, []
        return sorted([*complete, *left], key=_in_time)


def _in_time(cue: Cue) -> tuple[int, int]:
    return cue.start_ms, cue.channel or 0


@dataclass(frozen=True, slots=True)
class _Speech:
    """Text of one speaker without pauses, which the name may precede; `times_ms` are those of its characters."""

    text: str
    times_ms: Times
    language: str | None
    end_ms: int

    def longer(self, final: Final) -> "_Speech":
        """Return the speech with an utterance that follows without a pause."""
        times_ms = self.times_ms + character_times_ms(final)
        return replace(self, text=f"{self.text} {final.text}", times_ms=times_ms, end_ms=final.end_ms)

    def rest(self, n: int) -> "_Speech":
        """Return the speech without its first `n` characters, not counting spaces."""
        return replace(self, text=self.text[_offset(self.text, n) :].lstrip(), times_ms=self.times_ms[n:])


class _ChannelCues:
    """The cues of one channel, which do not overlap.

    A cue is complete when somebody speaks again after a pause, or somebody else speaks. An utterance without a pause
    before it is set together with the cue that it continues. So somebody who never pauses has captions too. The end of
    the last cue depends on the next cue.
    """

    def __init__(self, line_length: int, channel: int | None, *, labelled: bool) -> None:
        self._line_length = line_length
        self._channel = channel
        self._labelled = labelled
        self._speech: _Speech | None = None  # what is not returned yet
        self._voice = ""  # who spoke last
        self._free_from_ms = 0

    @property
    def start_ms(self) -> float:
        """Start of the speech whose cues may still change; infinite: there is none."""
        return self._speech.times_ms[0][0] if self._speech else math.inf

    def push(self, final: Final, voice: str) -> list[Cue]:
        """Take the next turn and its speaker, and return the cues that can no longer change."""
        if not final.text.strip():
            return []
        speech, begun = self._speech, (final.start_ms, final.language, voice)
        if speech is not None and (speech.end_ms, speech.language, self._voice) == begun:
            longer = speech.longer(final)  # so that the cues before it end where its words let them
            said = self._set(longer, None)
            ends = list(accumulate(sum(map(n_characters, cue.lines)) for cue in said))
            n_complete = bisect_right(ends, len(speech.times_ms))
            self._speech = longer.rest(ends[n_complete - 1]) if n_complete else longer
            return self._shown(said[:n_complete], said[n_complete].start_ms)
        times_ms = character_times_ms(final)
        complete = [] if speech is None else self._shown(self._set(speech, final.start_ms), max(0, times_ms[0][0]))
        # Cues of channels stand between each other, so each has the name in its margin.
        name = prefix(voice) if self._labelled and self._channel is None and voice != self._voice else ""
        self._voice = voice
        self._speech = _Speech(
            name + final.text, times_ms[:1] * n_characters(name) + times_ms, final.language, final.end_ms
        )
        return complete

    def flush(self) -> list[Cue]:
        """Return the remaining cues, because no final follows."""
        left = [] if self._speech is None else self._shown(self._set(self._speech, None), None)
        self._speech = None
        return left

    def flush_before(self, at_ms: int) -> list[Cue]:
        """Return the remaining cues, if no final that begins at this time or later can change them."""
        if self._speech is None or self._speech.end_ms + MIN_CUE_MS > at_ms:
            return []
        before = self._free_from_ms
        left = self._shown(self._set(self._speech, None), None)
        if left[-1].end_ms + CLOSED_GAP_MS > at_ms:
            self._free_from_ms = before
            return []
        self._speech = None
        return left

    @property
    def _margin(self) -> str:
        # A long name leaves half of a line.
        named = self._labelled and self._channel is not None
        return prefix(shortened(self._voice, self._line_length // 2)) if named else ""

    def _set(self, speech: _Speech, next_ms: int | None) -> list[Cue]:
        """Cut the speech into cues with the times of the speech. The next one begins at `next_ms`, if it is known."""
        return _Setting(speech, self._line_length - width(self._margin), next_ms).cues()

    def _shown(self, said: Sequence[Cue], next_start_ms: int | None) -> list[Cue]:
        """Return these cues with the times at which they are shown. The next cue begins at `next_start_ms`."""
        shown = []
        for cue, following_start_ms in zip(said, [*(cue.start_ms for cue in said[1:]), next_start_ms], strict=False):
            # It waits for the cue before, which people must read too: speech may be faster than captions can be shown.
            start_ms = max(cue.start_ms, self._free_from_ms)
            self._free_from_ms = _end_ms(start_ms, cue, following_start_ms)
            lines = (self._margin + cue.lines[0], *cue.lines[1:])
            shown.append(Cue(start_ms, self._free_from_ms, lines, self._channel, self._voice))
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
        lines = self._lines(stable + tentative)
        n_stable = n_characters(stable) - sum(map(n_characters, lines[:-MAX_LINES]))
        shown = []
        for line in lines[-MAX_LINES:]:
            at = _offset(line, n_stable)
            shown.append((line[:at], line[at:]))
            n_stable -= n_characters(line)
        return shown

    def full_lines(self, stable: str) -> list[str]:
        """Return the lines of stable text that are full. Longer stable text begins with the same lines."""
        return self._lines(stable)[:-1]

    def _lines(self, said: str) -> list[str]:
        text = BreakableText(said, self._language, self._line_length)
        self._breaks = self._kept(text)
        begin = self._breaks[-1] if self._breaks else 0
        for at in range(begin + 1, text.n_atoms):
            full = text.columns(begin, at + 1) > self._line_length
            unused = 1 - text.columns(begin, at) / self._line_length
            # End the line early if that is better than the plain break that it would get otherwise.
            if full or text.break_costs[at] + _EARLY * unused**2 < PLAIN:
                self._breaks.append(at)
                begin = at
        return [text.line(*ends) for ends in pairwise([0, *self._breaks, text.n_atoms])]

    def _kept(self, text: BreakableText) -> list[int]:
        kept: list[int] = []
        begin = 0
        for at in self._breaks:
            if at >= text.n_atoms or text.columns(begin, at) > self._line_length:
                break
            kept.append(at)
            begin = at
        return kept


class _Setting:
    """Speech without pauses that is cut into cues, which show the words while they are spoken."""

    def __init__(self, speech: _Speech, line_length: int, next_ms: int | None) -> None:
        self._line_length = line_length
        self._text = BreakableText(speech.text, speech.language, line_length)
        self._starts_ms: list[int] = []
        ends_ms: list[int] = []
        at_ms = n = 0
        for atom in self._text.atoms:
            at_ms = max(at_ms, speech.times_ms[n][0])
            n += len(atom.text)
            self._starts_ms.append(at_ms)
            ends_ms.append(max(at_ms, speech.times_ms[n - 1][1]))
        # A model may let a word end after the next one has begun.
        self._ends_ms = [*map(min, ends_ms, self._starts_ms[1:]), ends_ms[-1]]
        self._starts_ms.append(ends_ms[-1] + MAX_CUE_MS if next_ms is None else next_ms)
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


def _offset(line: str, n: int) -> int:
    """Return the end of the first `n` characters of a line, not counting spaces, or the line's end if it has fewer."""
    for at, character in enumerate(line):
        if n <= 0:
            return at
        n -= not character.isspace()
    return len(line)
