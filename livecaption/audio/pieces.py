"""Cut a stream where another container begins: programs send each piece of audio as a whole file. Pure.

A `MediaRecorder` that is stopped and started for each piece gives whole WebMs or MP4s, one after the other. FFmpeg
reads one container, and drops what follows or loses parts of it.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from livecaption.audio.wav import WavRepair


class Piece(Protocol):
    """Filter of one container's bytes.

    Attributes:
        rest: the first bytes of the next container, once that has begun. Nothing more may be pushed then.
        duration_s: its length, if that is known from the bytes so far.
    """

    rest: bytes | None
    duration_s: float | None

    def push(self, data: bytes) -> bytes:
        """Return the bytes for FFmpeg so far."""

    def finish(self) -> bytes:
        """Return the bytes that were held back, at the end of the stream."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The beginning of a container.

    Attributes:
        magic: bytes at the same place in each beginning.
        at: the place of `magic` from the beginning, in bytes.
        pattern: matches the beginning, from its first byte on.
        n_bytes: bytes in which `pattern` matches, if it does.
        needs_seek: True if files of the kind may have to be read from the end.
    """

    magic: bytes
    at: int
    pattern: re.Pattern[bytes]
    n_bytes: int
    needs_seek: bool


_BEGINNINGS = (
    # An EBML header with its document type (RFC 8794, 11.2.4).
    _Beginning(
        b"\x1a\x45\xdf\xa3", 0, re.compile(rb".{5,60}?\x42\x82.(?:webm|matroska)", re.DOTALL), 80, needs_seek=False
    ),
    # A box with its length, its brand and the brand's version (ISO 14496-12, 4.3).
    _Beginning(b"ftyp", 4, re.compile(rb"\0\0[\0-\3].ftyp[ -~]{4}", re.DOTALL), 12, needs_seek=True),
    _Beginning(b"FORM", 0, re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL), 12, needs_seek=True),
)

BEGINNING_BYTES = max(beginning.n_bytes for beginning in _BEGINNINGS)


def piece_of(head: bytes, *, can_seek: bool = False) -> Piece | None:
    """Return the filter of a container that begins with these bytes, or None if it needs none.

    Args:
        head: `BEGINNING_BYTES`, or all bytes if there are fewer.
        can_seek: the source can seek. Then containers that may have an index at their end are read without a filter.
    """
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return WavRepair()
    for beginning in _BEGINNINGS:
        if beginning.pattern.match(head) and not (can_seek and beginning.needs_seek):
            return _Cut(beginning)
    return None


class _Cut:
    """Filter that passes a container's bytes unchanged, up to the beginning of another one of its kind."""

    def __init__(self, beginning: _Beginning) -> None:
        self.rest: bytes | None = None
        self.duration_s: float | None = None
        self._beginning = beginning
        self._known = b""  # the newest bytes: as many passed ones as come before `magic`, and those held back
        self._n_passed = 0  # of them
        self._search_from = beginning.at + len(beginning.magic)  # its own beginning is not the next one

    def push(self, data: bytes) -> bytes:
        beginning, known = self._beginning, self._known + data
        at = known.find(beginning.magic, self._search_from)
        while at >= 0 and len(known) >= at - beginning.at + beginning.n_bytes:
            if beginning.pattern.match(known, at - beginning.at):
                # FFmpeg may have got the bytes before `magic`. They do no harm at the end of a container.
                self.rest = known[at - beginning.at :]
                return known[self._n_passed : at - beginning.at]
            at = known.find(beginning.magic, at + 1)
        end = at if at >= 0 else _end_without(beginning.magic, known)
        passed = known[self._n_passed : end]
        n_forgotten = max(0, end - beginning.at)
        self._known = known[n_forgotten:]
        self._n_passed = end - n_forgotten
        self._search_from = max(self._n_passed, self._search_from - n_forgotten)
        return passed

    def finish(self) -> bytes:
        return self._known[self._n_passed :]


def _end_without(magic: bytes, data: bytes) -> int:
    """Return where `data` ends without the bytes that may be the first ones of `magic`."""
    n_bytes = next((n for n in range(len(magic) - 1, 0, -1) if data.endswith(magic[:n])), 0)
    return len(data) - n_bytes
