"""Number the speakers by their voices, and cut finals into turns. Pure.

    voices of a final ──> Speakers: a number for each ──> the speaker of each word ──> turns of the text

A speaker is a running mean of voices. A voice that is like the mean of a speaker is that speaker's, and moves the mean.
One that is like none is a new speaker's. A number that was given is never changed. So what is said depends on the
order of the finals, and not on that of the engine's answers. Figures and rejected methods:
docs/decisions/0062-speakers.md.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, groupby

import numpy as np
import numpy.typing as npt

from livecaption.captions.stabilizer import units
from livecaption.events import CaptionWord, Final, Turn
from livecaption.recognition import Hypothesis, Voice, Word

SAME = 0.5
"""Cosine of a voice and a speaker's mean from which on they are one person. Less: two people become one for good. More:
one person becomes two."""
NEAREST = 0.25
"""The same for a voice that cannot be a new speaker's. Less: more wrong names. More: more parts without one."""
NEW_MS = 1500
"""Length of a voice in ms from which on it can be a new speaker's. Shorter: a cough becomes a person. Longer: the first
words of people have no name."""
LEARN_MS = 1000
"""Length of a voice in ms from which on it moves the mean. Shorter ones are not certain enough."""
MAX_WEIGHT_MS = 60_000
"""Weight of a mean, in ms of speech, at most. More: it does not follow a person who moves away. Less: it wavers."""


@dataclass(slots=True)
class _Mean:
    """The mean of a speaker's voices, as their sum: float32 [n], weighted by ms of speech. It is never logged."""

    sum: npt.NDArray[np.float32] = field(repr=False)
    weight_ms: float

    def cosine(self, voice: Voice) -> float:
        return float(self.sum @ voice.embedding / (np.linalg.norm(self.sum) or 1.0))

    def learn(self, voice: Voice, length_ms: int) -> None:
        keep = min(1.0, max(0.0, MAX_WEIGHT_MS - length_ms) / self.weight_ms)
        self.sum = self.sum * keep + voice.embedding * length_ms
        self.weight_ms = self.weight_ms * keep + length_ms


class Speakers:
    """The speakers of one stream, by the means of their voices. They are in memory only.

    Args:
        most: the number of speakers, at most.
        above: the highest number that an earlier server has given. Its voices are gone, so all speakers are new ones:
            two people never share a number.
    """

    def __init__(self, most: int, above: int = 0) -> None:
        self._most = most
        self._above = above
        self._means: list[_Mean] = []

    @property
    def highest(self) -> int:
        """The highest number that was given so far; 0: none."""
        return self._above + len(self._means)

    def number(self, voice: Voice) -> int | None:
        """Return the number of the speaker who has this voice; None: that is not certain enough."""
        length_ms = voice.end_ms - voice.start_ms
        cosines = [mean.cosine(voice) for mean in self._means]
        nearest = max(range(len(cosines)), key=cosines.__getitem__, default=None)
        if nearest is not None and cosines[nearest] >= SAME:
            if length_ms >= LEARN_MS:
                self._means[nearest].learn(voice, length_ms)
        elif length_ms >= NEW_MS and len(self._means) < self._most:
            nearest = len(self._means)
            self._means.append(_Mean(voice.embedding * length_ms, length_ms))
        elif nearest is not None and cosines[nearest] < NEAREST:
            nearest = None
        return None if nearest is None else self._above + nearest + 1

    def attribute(self, final: Final, answer: Hypothesis | None, window_ms: int) -> Final:
        """Return the final with its turns, and with the speaker of each of its words.

        Args:
            final: the next final of the stream.
            answer: that of the engine, from which it was made; None: there was none.
            window_ms: stream time of the first sample of the answer's window.
        """
        if answer is None or not answer.voices or not final.text:
            return spoken_by(final, None)
        n_known = len(self._means)
        numbers = [self.number(voice) for voice in answer.voices]
        speakers = _of_units(answer, [numbers[_at(word, answer.voices)] for word in answer.words])
        timed = _units(answer, speakers)
        said = units(final.text)
        if len(said) == len(timed):
            turns = _turns(final, said, timed, window_ms)
        else:
            # The text has other words than those that the engine timed, so nobody knows whose they are.
            turns = _whole(final, _longest(answer.voices, numbers))
        kept = self._keep({turn.speaker for turn in turns}, n_known)
        turns = tuple(replace(turn, speaker=kept.get(turn.speaker)) for turn in turns)
        words = final.words and _spoken(final.words, [kept.get(speaker) for speaker in speakers])
        return replace(final, words=words, turns=turns)

    def _keep(self, shown: Collection[int | None], n_known: int) -> dict[int | None, int]:
        """Take back all numbers after the first `n_known` that no turn shows, and return what the others become.

        An earlier server's numbers are known by the turns of its finals. It must have given no others.
        """
        before = range(self._above + 1, self._above + n_known + 1)
        new = [number for number in range(before.stop, self.highest + 1) if number in shown]
        self._means[n_known:] = [self._means[number - self._above - 1] for number in new]
        return dict(zip((*before, *new), count(self._above + 1)))


def spoken_by(final: Final, speaker: int | None) -> Final:
    """Return the final as one turn of this speaker. A final without text has no turn."""
    words = final.words and _spoken(final.words, [speaker] * len(final.words))
    return replace(final, words=words, turns=_whole(final, speaker))


def highest_speaker(finals: Iterable[Final]) -> int:
    """Return the highest number of a speaker in these finals; 0: there is none."""
    return max((turn.speaker or 0 for final in finals for turn in final.turns or ()), default=0)


@dataclass(frozen=True, slots=True)
class _Timed:
    """A unit of the engine's text: its speaker, and the times of its words, from the first sample of the window."""

    speaker: int | None
    start_ms: int
    end_ms: int


def _at(word: Word, voices: Sequence[Voice]) -> int:
    """Return the index of the voice that is nearest to the middle of a word."""
    middle_ms = (word.start_ms + word.end_ms) / 2
    return min(range(len(voices)), key=lambda i: max(voices[i].start_ms - middle_ms, middle_ms - voices[i].end_ms, 0.0))


def _of_units(answer: Hypothesis, speakers: Sequence[int | None]) -> list[int | None]:
    """Return the speakers of the words, where words within a unit have the speaker of the one before.

    The engine splits words at other places than units, such as before a percent sign. No turn begins there.
    """
    begins = {0, *accumulate(len(unit.rstrip()) for unit in units(answer.text))}
    *words_begin, end = accumulate((len("".join(word.text.split())) for word in answer.words), initial=0)
    if end != max(begins):
        return [*speakers]  # the words are not those of the text
    of_units: list[int | None] = []
    for speaker, at in zip(speakers, words_begin, strict=True):
        of_units.append(speaker if at in begins else of_units[-1])
    return of_units


def _units(answer: Hypothesis, speakers: Sequence[int | None]) -> list[_Timed]:
    """Return the units of the engine's text; none if its words are not those of its text.

    A unit belongs to the speaker of its first character.
    """
    characters = [
        (speaker, word)
        for speaker, word in zip(speakers, answer.words, strict=True)
        for _ in "".join(word.text.split())
    ]
    timed = []
    at = 0
    for unit in units(answer.text):
        n_characters = len(unit.rstrip())
        if at + n_characters > len(characters):
            return []
        speaker, first = characters[at]
        at += n_characters
        timed.append(_Timed(speaker, first.start_ms, characters[at - 1][1].end_ms))
    return timed if at == len(characters) else []


def _turns(final: Final, said: Sequence[str], timed: Sequence[_Timed], window_ms: int) -> tuple[Turn, ...]:
    """Cut a final where the speaker changes. Its first turn begins, and its last one ends, with the final."""
    turns: list[Turn] = []
    for speaker, group in groupby(zip(said, timed, strict=True), key=lambda unit: unit[1].speaker):
        spoken = list(group)
        start_ms, end_ms = (window_ms + at_ms for at_ms in (spoken[0][1].start_ms, spoken[-1][1].end_ms))
        if turns:
            # A model may let a word end after the next one has begun.
            start_ms = min(max(start_ms, turns[-1].start_ms), final.end_ms)
            turns[-1] = replace(turns[-1], end_ms=min(turns[-1].end_ms, start_ms))
        else:
            start_ms = final.start_ms
        end_ms = min(max(end_ms, start_ms), final.end_ms)
        turns.append(Turn(speaker, "".join(unit for unit, _ in spoken), start_ms, end_ms))
    turns[-1] = replace(turns[-1], end_ms=final.end_ms)
    return tuple(turns)


def _whole(final: Final, speaker: int | None) -> tuple[Turn, ...]:
    return (Turn(speaker, final.text, final.start_ms, final.end_ms),) if final.text else ()


def _spoken(words: Sequence[CaptionWord], speakers: Sequence[int | None]) -> tuple[CaptionWord, ...]:
    return tuple(replace(word, speaker=speaker) for word, speaker in zip(words, speakers, strict=True))


def _longest(voices: Sequence[Voice], numbers: Sequence[int | None]) -> int | None:
    """Return the speaker who speaks for longest."""
    spoken_ms = {number: 0 for number in numbers if number is not None}
    for voice, number in zip(voices, numbers, strict=True):
        if number is not None:
            spoken_ms[number] += voice.end_ms - voice.start_ms
    return max(spoken_ms, key=spoken_ms.__getitem__, default=None)
