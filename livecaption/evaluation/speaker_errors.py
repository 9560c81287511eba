"""Compare the speakers in captions with those of a reference. Pure.

Time is counted in steps of 10 ms, without a collar around the edges of turns. Numbers and names are assigned to each
other so that they agree for as long as possible. Where several people speak at once, each of them counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEP_MS = 10
FOUND_MS = 2000
"""Speech of a number in ms from which on it counts as a speaker that was found."""
WORD_TOLERANCE_MS = 100
"""Distance of a word from a turn in ms, at most, if it is to belong to that turn: words are timed that well."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech of one person, in ms. `speaker` is a name of the reference or a number; None: nobody is named."""

    start_ms: float
    end_ms: float
    speaker: str | int | None


@dataclass(frozen=True, slots=True)
class SpeakerErrors:
    """Errors in ms of the reference's speech, and in words. They add up.

    Attributes:
        total_ms: speech of the reference, that of each person.
        missed_ms: speech without a caption.
        false_ms: captions of somebody while nobody else speaks.
        confused_ms: speech with the wrong speaker.
        unnamed_ms: speech in captions without a speaker.
        named_ms: speech of a single person with a single number.
        pure_ms: the part of it that is of the person who speaks most with that number.
        covered_ms: the part of it that has the number that person has most.
        n_words, n_wrong_words: words of captions in a turn of the reference, and those with another speaker or none.
        n_speakers: people in the reference.
        n_found: numbers with `FOUND_MS` of speech.
    """

    total_ms: int = 0
    missed_ms: int = 0
    false_ms: int = 0
    confused_ms: int = 0
    unnamed_ms: int = 0
    named_ms: int = 0
    pure_ms: int = 0
    covered_ms: int = 0
    n_words: int = 0
    n_wrong_words: int = 0
    n_speakers: int = 0
    n_found: int = 0

    @property
    def error_rate(self) -> float:
        """The diarization error rate, with what is unnamed."""
        errors_ms = self.missed_ms + self.false_ms + self.confused_ms + self.unnamed_ms
        return errors_ms / max(1, self.total_ms)


def speaker_errors(
    reference: Sequence[Stretch], captions: Sequence[Stretch], words: Sequence[Stretch]
) -> SpeakerErrors:
    """Count the errors of captions and of their words."""
    n_steps = round(max((stretch.end_ms for stretch in (*reference, *captions)), default=0) / STEP_MS) + 1
    people = sorted({str(stretch.speaker) for stretch in reference})
    numbers = sorted({int(stretch.speaker) for stretch in captions if stretch.speaker is not None})
    true, told = _grid(reference, people, n_steps), _grid(captions, numbers, n_steps)
    has_caption = _grid([Stretch(c.start_ms, c.end_ms, 0) for c in captions], [0], n_steps)[0]
    agreement = true.astype(int) @ told.astype(int).T
    names = assignment(agreement)
    n_true, n_told = true.sum(axis=0), told.sum(axis=0)
    correct = sum((true[i] & told[j] for i, j in names), start=np.zeros(n_steps, int))
    is_single = (n_true == 1) & (n_told == 1)
    single = true[:, is_single].astype(int) @ told[:, is_single].astype(int).T
    numbers_of = {people[i]: numbers[j] for i, j in names}
    spoken = [(word, who) for word in words if (who := _speakers_at(reference, word))]
    return SpeakerErrors(
        total_ms=STEP_MS * int(n_true.sum()),
        missed_ms=STEP_MS * int(np.maximum(0, n_true - np.maximum(n_told, has_caption)).sum()),
        false_ms=STEP_MS * int(np.maximum(0, n_told - n_true).sum()),
        confused_ms=STEP_MS * int((np.minimum(n_true, n_told) - correct).sum()),
        unnamed_ms=STEP_MS * int((np.minimum(n_true, has_caption) - np.minimum(n_true, n_told > 0)).sum()),
        named_ms=STEP_MS * int(single.sum()),
        pure_ms=STEP_MS * int(single.max(axis=0, initial=0).sum()),
        covered_ms=STEP_MS * int(single.max(axis=1, initial=0).sum()),
        n_words=len(spoken),
        n_wrong_words=sum(
            word.speaker is None or word.speaker not in {numbers_of.get(each) for each in who} for word, who in spoken
        ),
        n_speakers=len(people),
        n_found=int((told.sum(axis=1) * STEP_MS >= FOUND_MS).sum()),
    )


def _grid(stretches: Iterable[Stretch], speakers: Sequence[str | int], n_steps: int) -> npt.NDArray[np.bool_]:
    """Return for each speaker and step whether that one speaks."""
    grid = np.zeros((len(speakers), n_steps), bool)
    rows = {speaker: row for row, speaker in enumerate(speakers)}
    for stretch in stretches:
        if stretch.speaker is not None:
            grid[rows[stretch.speaker], round(stretch.start_ms / STEP_MS) : round(stretch.end_ms / STEP_MS)] = True
    return grid


def _speakers_at(reference: Sequence[Stretch], word: Stretch) -> set[str]:
    """Return the people who speak in the middle of a word."""
    at_ms = (word.start_ms + word.end_ms) / 2
    return {
        str(turn.speaker)
        for turn in reference
        if turn.start_ms - WORD_TOLERANCE_MS <= at_ms <= turn.end_ms + WORD_TOLERANCE_MS
    }


def assignment(agreement: npt.NDArray[np.int_]) -> list[tuple[int, int]]:
    """Return the pairs of rows and columns, each at most once, whose sum is the largest.

    All sets of rows are tried, for one column after the other. So there may be few rows.
    """
    best: dict[frozenset[int], tuple[int, list[tuple[int, int]]]] = {frozenset(): (0, [])}
    for column in range(agreement.shape[1]):
        for rows, (total, pairs) in list(best.items()):
            for row in np.flatnonzero(agreement[:, column]).tolist():
                more = total + int(agreement[row, column])
                if row not in rows and more > best.get(rows | {row}, (0, []))[0]:
                    best[rows | {row}] = more, [*pairs, (row, column)]
    return max(best.values(), key=lambda each: each[0])[1]
