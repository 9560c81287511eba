"""The captions of a room for programs that ask again and again, one line at a time. Pure.

A program sends the position behind the newest line that it has, and gets the next one. Positions grow. They have the
end of a final, in ms of the Unix clock, and the characters of it that were delivered. So they stay right over parts,
events and restarts of the server. Names of speakers do not count, because they may change. Source of the format:
StreamText, "Realtime Caption Pull".
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from livecaption.captions.labels import NO_NAMES, Names, prefix, speaker_name
from livecaption.events import Final

CHARACTERS = 4096
"""Characters of a final that a position can count; an utterance of 28 s has a tenth of them. As a number in JavaScript,
a position has 53 bits: 41 for the time, which are enough until 2039, and 12 for these."""
DEFAULT_LENGTH = 32
MAX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or nothing.

    Attributes:
        content: the text, which ends with a space, unless a word is cut here; empty: there is nothing new.
        position: the position behind it.
        language: its language; empty: unknown.
    """

    content: str
    position: int
    language: str


@dataclass(frozen=True, slots=True)
class Said:
    """The text of a final, its language, and what stands before its characters where another person speaks."""

    text: str
    language: str
    prefixes: dict[int, str]


class Texts:
    """The finals of one part that have text, with their places. Finals are only appended.

    Args:
        finals: those that are there already.
    """

    def __init__(self, finals: Iterable[Final] = ()) -> None:
        self._ends_ms: list[int] = []  # no two are equal
        self._said: list[Said] = []
        self._voice = ""
        for final in finals:
            self.push(final)

    def push(self, final: Final, names: Names = NO_NAMES) -> None:
        """Take the next final, in the order of `transcript.settled_in_track`. Its speakers have these names."""
        if not final.text.strip():
            return
        self._ends_ms.append(max(final.end_ms, self._ends_ms[-1] + 1 if self._ends_ms else 0))
        said = Said(final.text[: CHARACTERS - 1], final.language or "", {})
        at = 0
        for turn in final.turns or ():
            voice = speaker_name(turn.speaker, names)
            if voice != self._voice:
                said.prefixes[at] = prefix(voice)
            self._voice = voice
            at += len(turn.text)
        self._said.append(said)

    def behind(self, position: int) -> tuple[int, Said] | None:
        """Return the text in which a client at this position goes on, and the position of the text.

        Positions count from the beginning of the part. None: nothing is behind this one.
        """
        first = max(0, bisect_right(self._ends_ms, position // CHARACTERS) - 1)
        for end_ms, said in zip(self._ends_ms[first : first + 2], self._said[first : first + 2], strict=True):
            if position < end_ms * CHARACTERS + len(said.text):
                return end_ms * CHARACTERS, said
        return None

    @property
    def newest_position(self) -> int | None:
        """The position behind everything, from the beginning of the part; None: there is nothing."""
        return self._ends_ms[-1] * CHARACTERS + len(self._said[-1].text) if self._said else None


Parts = Iterable[tuple[int, Texts]]
"""The time at which each part began, in ms of the Unix clock, and its texts."""


def next_line(parts: Parts, position: int, length: int) -> Line:
    """Return the line behind this position.

    A line ends where the next word would be too much, and at the end of an utterance or turn. A text without spaces is
    cut where the line is full. The name of a speaker is not counted among its characters.

    Args:
        parts: the parts of the room.
        position: 0 is before all.
        length: characters of a line, without the space at its end.
    """
    for began_at_ms, texts in parts:
        began_at = began_at_ms * CHARACTERS
        found = texts.behind(position - began_at)
        if found is not None:
            at, said = found
            at += began_at
            begin = max(0, position - at)
            turn_end = min((start for start in said.prefixes if start > begin), default=len(said.text))
            end = _end(said.text[:turn_end], begin, length)
            content = said.prefixes.get(begin, "") + said.text[begin:end]
            # A word that is cut goes on in the next line.
            gap = " " if end == turn_end and not content.endswith(" ") else ""
            return Line(content + gap, at + end, said.language)
    return Line("", position, "")


def newest_position(parts: Parts) -> int:
    """Return the position behind everything."""
    ends = [(began_at_ms, texts.newest_position) for began_at_ms, texts in parts]
    return max((began_at_ms * CHARACTERS + end for began_at_ms, end in ends if end is not None), default=0)


def _end(text: str, begin: int, length: int) -> int:
    if len(text) - begin <= length:
        return len(text)
    space = text.rfind(" ", begin, begin + length + 1)
    return space + 1 if space > begin else begin + length
