"""Repair WAVs while they are received: lengths that are wrong, and WAVs one after the other. Pure.

A WAV states the length of its audio before the audio. Programs that stream one cannot state it: they write zero, the
largest number, or the length of their first piece. Others send each piece of audio as a whole WAV. FFmpeg stops at the
stated length, and the rest would be lost.

So the stated length is only a place to look: behind it comes another chunk, another WAV, the end, or more audio. FFmpeg
gets one header and then nothing but audio, and ignores the length by its option `ignore_length`.
"""

import struct
from enum import Enum, auto

_CHUNK = struct.Struct("<4sI")
_RIFF = b"RIFF"
_FORMS = (_RIFF, b"RF64", b"BW64")
_FORM_BYTES = 12
"""The form, its length, and `WAVE`."""
MAX_FORMAT_BYTES = 4096
"""The longest `fmt ` chunk that is compared. Real ones have up to 40 bytes, and those of a codec some more."""
UNKNOWN_LENGTHS = range(0x7FFF_0000, 0x1_0000_0000)
"""Lengths that programs write before they have theirs. Longer than 2 GiB is RF64, which has the length elsewhere."""
AFTER_AUDIO = frozenset(
    [
        *(b"LIST", b"id3 ", b"ID3 ", b"cue ", b"fact", b"PEAK", b"bext", b"iXML", b"axml", b"aXML", b"chna", b"_PMX"),
        *(b"JUNK", b"junk", b"PAD ", b"FLLR", b"smpl", b"inst", b"plst", b"labl", b"ltxt", b"note", b"cart", b"levl"),
        *(b"MEXT", b"DISP", b"acid", b"strc", b"afsp", b"umid", b"ovwf", b"regn", b"minf", b"elm1", b"SAUR", b"dbmd"),
    ]
)
"""Chunks that programs write behind the audio. What else follows the stated length is audio, because four letters alone
are no proof of a chunk."""


class _State(Enum):
    FORM = auto()
    CHUNKS = auto()
    """Before the audio."""
    AUDIO = auto()
    AFTER = auto()
    """At the end of the stated length."""
    SKIP = auto()
    """Within a chunk behind the audio."""
    OPEN = auto()
    """Audio behind the stated length, or bytes that are no WAV."""


class WavRepair:
    """Filter of one stream's bytes, which begin with a WAV. The bytes may be cut anywhere.

    WAVs of one format become one WAV. One of another format ends this one: `rest` has its first bytes.

    Attributes:
        rest: the first bytes of the next WAV, if one of another format has begun. Nothing more may be pushed then.
        duration_s: the stated length of the first WAV in seconds, if it states one.
    """

    def __init__(self) -> None:
        self.rest: bytes | None = None
        self.duration_s: float | None = None
        self._state = _State.FORM
        self._held = b""
        self._n_left = 0  # bytes up to the end of what the state is in
        self._chunks_after = _State.AFTER  # the state behind a chunk that is skipped
        self._is_first = True
        self._format = b""
        self._next_format = b""
        self._n_audio_ds64 = 0
        self._n_audio = 0

    def push(self, data: bytes) -> bytes:
        """Return the bytes for FFmpeg so far."""
        self._held += data
        passed = []
        while self._held and self.rest is None:
            part = self._step()
            if part is None:
                break
            passed.append(part)
        return b"".join(passed)

    def finish(self) -> bytes:
        """Return the bytes that were held back, at the end of the stream."""
        held, self._held = self._held, b""
        is_padding = self._state is _State.AFTER and held == b"\0"
        is_header = self._state in (_State.FORM, _State.CHUNKS, _State.SKIP) and not self._is_first
        return b"" if is_padding or is_header else held

    def _step(self) -> bytes | None:
        """Take one step. Return the bytes to pass on, or None if more bytes are needed first."""
        match self._state:
            case _State.FORM:
                return self._read_form()
            case _State.CHUNKS:
                return self._read_chunk()
            case _State.AFTER:
                return self._look_after_audio()
            case _State.SKIP:
                skipped = self._take(self._n_left)
                self._n_left -= len(skipped)
                if not self._n_left:
                    self._state = self._chunks_after
                return skipped if self._is_first and self._chunks_after is _State.CHUNKS else b""
            case _State.AUDIO:
                return self._read_audio(self._n_left)
            case _State.OPEN:
                return self._read_audio(None)

    def _read_form(self) -> bytes | None:
        if len(self._held) < _FORM_BYTES:
            return None
        if self._held[:4] not in _FORMS or self._held[8:12] != b"WAVE":
            self._state = _State.OPEN
            return b""
        self._state = _State.CHUNKS
        return self._pass(self._take(_FORM_BYTES))

    def _read_chunk(self) -> bytes | None:
        if len(self._held) < _CHUNK.size:
            return None
        name, n_bytes = _CHUNK.unpack_from(self._held)
        if name == b"data":
            return self._begin_audio(n_bytes)
        if name in (b"fmt ", b"ds64") and n_bytes <= MAX_FORMAT_BYTES:
            if len(self._held) < _CHUNK.size + n_bytes + n_bytes % 2:
                return None
            chunk = self._take(_CHUNK.size + n_bytes + n_bytes % 2)
            if name == b"fmt ":
                self._next_format = chunk
            elif n_bytes >= 16:
                (self._n_audio_ds64,) = struct.unpack_from("<Q", chunk, 16)
            return self._pass(chunk)
        self._skip(n_bytes, _State.CHUNKS)
        return self._pass(self._take(_CHUNK.size))

    def _begin_audio(self, n_bytes: int) -> bytes | None:
        head = self._take(_CHUNK.size)
        if self._is_first:
            self._format, self._is_first = self._next_format, False
            passed = head
        elif self._next_format == self._format:
            # A WAV that was cut within a sample would exchange the channels of all that follow.
            passed = bytes(-self._n_audio % self._block_bytes)
        else:
            head = _CHUNK.pack(b"data", n_bytes)
            self.rest = _CHUNK.pack(_RIFF, 0xFFFFFFFF) + b"WAVE" + self._next_format + head + self._held
            return b""
        self._n_audio = 0
        is_stated = n_bytes not in UNKNOWN_LENGTHS
        if not is_stated and self._n_audio_ds64:
            n_bytes, is_stated, self._n_audio_ds64 = self._n_audio_ds64, True, 0
        self._n_left = n_bytes
        self._state = _State.AUDIO if self._n_left else _State.AFTER
        bytes_per_s = int.from_bytes(self._format[16:20], "little")
        if passed is head and bytes_per_s and self._n_left and is_stated:
            self.duration_s = self._n_left / bytes_per_s
        return passed

    @property
    def _block_bytes(self) -> int:
        """The bytes of one sample of all channels, as the format states them."""
        return max(1, int.from_bytes(self._format[20:22], "little"))

    def _read_audio(self, n_left: int | None) -> bytes | None:
        """Pass audio up to the stated length, or up to another WAV."""
        end = len(self._held) if n_left is None else min(n_left, len(self._held))
        at = self._held.find(_RIFF, 0, end + 3)
        while at >= 0 and len(self._held) >= at + _FORM_BYTES and self._held[at + 8 : at + 12] != b"WAVE":
            at = self._held.find(_RIFF, at + 1, end + 3)
        if at < 0 and (n_left is None or end < n_left):
            n_kept = next((n for n in (3, 2, 1) if self._held.endswith(_RIFF[:n])), 0)
            at = len(self._held) - n_kept if n_kept else -1
        if at == 0 and len(self._held) >= _FORM_BYTES:
            self._state = _State.FORM
            return b""
        if at == 0:
            return None
        audio = self._take(end if at < 0 else min(at, end))
        self._n_audio += len(audio)
        if n_left is not None:
            self._n_left -= len(audio)
            if not self._n_left:
                self._state = _State.AFTER
        return audio

    def _look_after_audio(self) -> bytes | None:
        # A chunk of odd length is followed by a zero.
        if len(self._held) < 1 + _CHUNK.size:
            return None
        for n_padding in (0, 1):
            name, n_bytes = _CHUNK.unpack_from(self._held, n_padding)
            if n_padding and self._held[0]:
                continue
            if name in AFTER_AUDIO:
                self._take(n_padding + _CHUNK.size)
                self._skip(n_bytes, _State.AFTER)
                return b""
            if name == b"data":
                # A second chunk of audio.
                self._take(n_padding + _CHUNK.size)
                self._n_left = n_bytes
                self._state = _State.AUDIO if n_bytes else _State.AFTER
                return b""
            if name in _FORMS:
                self._take(n_padding)
                self._state = _State.FORM
                return b""
        self._state = _State.OPEN
        return b""

    def _skip(self, n_bytes: int, then: _State) -> None:
        self._n_left = n_bytes + n_bytes % 2
        self._chunks_after = then
        self._state = _State.SKIP if self._n_left else then

    def _take(self, n_bytes: int) -> bytes:
        taken, self._held = self._held[:n_bytes], self._held[n_bytes:]
        return taken

    def _pass(self, header: bytes) -> bytes:
        """Return bytes of a header if they are of the first WAV; those of the others are dropped."""
        return header if self._is_first else b""
