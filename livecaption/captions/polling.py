"""The captions of a room for programs that ask again and again, one line at a time. Pure.

A program sends the position behind the newest line that it has, and gets the next one. Positions grow. They have the
end of a final, in ms of the Unix clock, and the characters of it that were delivered. So they stay right over parts,
events and restarts of the server. Source of the format: StreamText, "Realtime Caption Pull".
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
        content: the text, which ends with a space; empty: there is nothing new.
        position: the position behind it.
        language: its language; empty: unknown.
    """

    content: str
    position: int
    language: str


Parts = Iterable[tuple[int, Sequence[Final]]]
"""The time at which each part began, in ms of the Unix clock, and its finals in the order of their events."""


def next_line(parts: Parts, position: int, length: int) -> Line:
    """Return the line behind this position.

    A line ends where the next word would be too much, and at the end of an utterance.

    Args:
        parts: the parts of the room.
        position: 0 is before all.
        length: characters of a line, without the space at its end.
    """
    for at, final in _positions(parts):
        text = final.text[: CHARACTERS - 1]
        if position < at + len(text):
            begin = max(0, position - at)
            end = _end(text, begin, length)
            content = text[begin:end]
            return Line(content if content.endswith(" ") else content + " ", at + end, final.language or "")
    return Line("", position, "")


def newest_position(parts: Parts) -> int:
    """Return the position behind everything."""
    return max((at + len(final.text[: CHARACTERS - 1]) for at, final in _positions(parts)), default=0)


def _positions(parts: Parts) -> Iterator[tuple[int, Final]]:
    """Yield the finals with text, each with the position of its first character."""
    for began_at_ms, finals in parts:
        at_ms = 0
        for final in finals:
            if final.text.strip():
                at_ms = max(at_ms + 1, began_at_ms + final.end_ms)
                yield at_ms * CHARACTERS, final


def _end(text: str, begin: int, length: int) -> int:
    if len(text) - begin <= length:
        return len(text)
    space = text.rfind(" ", begin, begin + length + 1)
    return space + 1 if space > begin else begin + length
