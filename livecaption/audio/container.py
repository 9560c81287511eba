"""Decode a container, while it is being received, into samples at 16 kHz.

FFmpeg's demuxers and decoders (PyAV) read WAV, WebM, Ogg, FLAC, MP3, MP4 and others. Only this module, `track` and
`decoding.broadcast` import av, and they are imported only where they are needed. This module reads from a file object
and blocks where that blocks. FFmpeg is native code that parses bytes of strangers, so it runs in a process of its own
(`livecaption.decoding`).

Audio lags behind its bytes:

- WebM, Ogg, MP4: by one cluster, page or fragment, as the sender cut them.
- FLAC: by seven blocks (2 s at 16 kHz), because the end of a frame can be found only by its successors.
- WAV with 16-bit samples: by its first 64 KiB, because FFmpeg looks for S/PDIF in them; by up to 0.1 s after that.
- Several audio tracks of which the default one is silent: by up to `PROBE_S`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from typing import Any, BinaryIO, Protocol

import av

# PyAV imports these when a container has subtitles, which is too late in the sandbox.
import av.subtitles.codeccontext
import av.subtitles.stream
import numpy as np
from av.stream import Disposition

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.audio.accepted import FILES, STREAMS, Accepted
from livecaption.audio.formats import ChannelMode, Samples
from livecaption.audio.pieces import BEGINNING_BYTES, Piece, piece_of
from livecaption.audio.signatures import HEAD_BYTES, kind_of
from livecaption.audio.timeline import Timeline
from livecaption.audio.track import PIECE_S, TrackAudio, fault_of, n_channels_of
from livecaption.errors import InvalidAudio

__all__ = ["FILES", "PIECE_S", "STREAMS", "Contents", "decode_container"]

READ_BYTES = 4096
"""Bytes for each read of the source. More delays the audio where a read waits for all of them. Less costs calls."""
PROBE_S = 10.0
"""Time in which the first track with sound is looked for, if there are several. Longer delays a stream more."""
SOUND = 0.001
"""A track is silent while no sample is larger: -60 dB of full scale."""
MAX_TRACKS = 16
"""Audio tracks that are considered. Each that is decoded takes memory."""
MAX_START_S = 60.0
"""A container that begins later than this has the clock of a broadcast or of a stream that was joined on its way."""
CLOCKS_OF_BROADCASTS = ("mpegts", "mpeg")
"""Formats whose time stamps begin anywhere."""

MALFORMED = (av.FFmpegError, IndexError, ValueError)
"""Exceptions that malformed bytes cause: PyAV's errors, a missing audio track, and values that make no sense."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Facts about a container from its header.

    Attributes:
        duration_s: its length, or None if the header has none.
        track: number of the audio track that is decoded, from 1.
        n_tracks: number of its audio tracks.
        n_channels: number of channels of the samples; 1 if they are mixed.
    """

    duration_s: float | None
    track: int = 1
    n_tracks: int = 1
    n_channels: int = 1


class Input(Protocol):
    """A source that FFmpeg reads a container from."""

    @property
    def duration_s(self) -> float | None:
        """The length, where FFmpeg does not find it."""

    def open(self, options: dict[str, str]) -> Any:
        """Open the container. The caller closes it."""


class _Refused(ValueError):
    """The container is refused for a reason that its sender is sent."""


def decode_container(
    source: BinaryIO | RawIOBase,
    opened: Callable[[Contents], None] = lambda contents: None,
    *,
    accepted: Accepted = STREAMS,
    track: int | None = None,
    channel_mode: ChannelMode = "mix",
) -> Iterator[Samples]:
    """Decode to float32 [n_samples], mono, 16 kHz, -1..1, in pieces of at most `PIECE_S`.

    Channels are mixed (see `downmix`), or kept apart as [n_samples, n_channels]. Audio is at its presentation time:
    where the container has none, there is silence. A container that ends early yields its audio so far, and then ends
    without an error. If a packet was torn, `truncated_audio` follows. Containers that follow each other are decoded one
    after the other, where `pieces` has their beginnings.

    Args:
        source: `read(n)` returns 1 to n bytes, b"" at the end, and may block. It need not be seekable. Its exceptions
            are passed on unchanged. It is not closed.
        opened: called once it is known which track is decoded, before its samples.
        accepted: what the container may be.
        track: number of the audio track, from 1. None: the default track, or the first with sound if that is silent.
        channel_mode: `separate`: there are as many channels as the header states, until the end.

    Raises:
        InvalidAudio: `invalid_container`: the format is not supported, there is no audio or no such track in it, or
            nothing can be decoded. An MP4 with its index at the end also counts if the source cannot seek.
            `truncated_audio`, not fatal, after all the audio: some of it was damaged.
    """
    reader = _Reader(source)
    decoding = Decoding(reader, opened, accepted, track, channel_mode)
    has_audio = is_damaged = False
    while True:
        try:
            for samples in decoding.decode():
                if samples.size:
                    has_audio = True
                    yield samples
        except MALFORMED as error:
            if error is reader.error:
                raise
            if not has_audio and not reader.has_next_piece:
                raise InvalidAudio(_refusal(reader, accepted, error), code="invalid_container") from error
            is_damaged = True
        if not reader.next_piece():
            break
    yield from (samples for samples in decoding.flush() if samples.size)
    if is_damaged:
        raise InvalidAudio("part of the audio was damaged", code="truncated_audio", fatal=False)


def _refusal(reader: "_Reader", accepted: Accepted, error: Exception) -> str:
    """Say why a container is refused, and what it is."""
    kind = kind_of(reader.head)
    if isinstance(error, _Refused):
        return str(error)
    if kind == "MP4" and not reader.can_seek:
        return "this MP4 has its index at the end, or is damaged; only a fragmented one can be read as a stream"
    if accepted is STREAMS:
        known = "not audio that can be read as a stream, such as WAV, WebM, Ogg, FLAC, MP3 or MP4"
    else:
        known = "not audio that can be read, such as WAV, MP3, FLAC, Ogg, WebM, MP4, MPEG or FLV"
    return known if kind is None else f"{known} (it looks like {kind})"


class _Reader:
    """The file object that FFmpeg reads from. It wraps the source, and ends where another container begins.

    Attributes:
        error: the exception that the source raised, if any. PyAV passes it on. A ValueError of the source must not be
            taken for one of the container.
        head: the first bytes of the source.
        can_seek: True if FFmpeg may seek.
    """

    def __init__(self, source: BinaryIO | RawIOBase) -> None:
        self.error: Exception | None = None
        self._source = source
        can_seek = source.seekable()
        begin = source.tell() if can_seek else 0
        self.head = self._read_head()
        self._piece = piece_of(self.head, can_seek=can_seek)
        self.can_seek = can_seek and self._piece is None
        self._ready = b""
        self._ended = False
        if self.can_seek:
            source.seek(begin)
            self.seek, self.tell = source.seek, source.tell
        else:
            self._ready = self.head
        if self._piece is not None:
            self._begin(self._piece, self.head)

    @property
    def duration_s(self) -> float | None:
        """The length, where FFmpeg does not find it."""
        return self._piece.duration_s if self._piece is not None else None

    def read(self, n_bytes: int) -> bytes:
        """Return up to `n_bytes`, or b"" at the end of the source or before the next container."""
        while not self._ready and not self._ended:
            piece, data = self._piece, self._read_source(n_bytes)
            if piece is None:
                return data
            self._ready = piece.push(data) if data else piece.finish()
            self._ended = not data or piece.rest is not None
        data, self._ready = self._ready[:n_bytes], self._ready[n_bytes:]
        return data

    def open(self, options: dict[str, str]) -> Any:
        """Let FFmpeg read the container that begins here."""
        options = options | {"ignore_length": "1"}  # of WAVs; see `wav`
        return av.open(self, "r", options=options, metadata_errors="replace", buffer_size=READ_BYTES)

    @property
    def has_next_piece(self) -> bool:
        """True if the container that follows has begun."""
        return self._piece is not None and self._piece.rest is not None

    def next_piece(self) -> bool:
        """Go on to the container that follows, if there is one; skip the rest of this one."""
        if self._piece is None:
            return False
        while self.read(READ_BYTES):
            pass
        rest = self._piece.rest
        if rest is None:
            return False
        self._piece = piece_of(rest)
        assert self._piece is not None  # it begins as its kind does
        self._begin(self._piece, rest)
        return True

    def _begin(self, piece: Piece, data: bytes) -> None:
        self._ready = piece.push(data)
        self._ended = piece.rest is not None

    def _read_head(self) -> bytes:
        head = b""
        while len(head) < max(HEAD_BYTES, BEGINNING_BYTES):
            data = self._read_source(HEAD_BYTES - len(head))
            if not data:
                break
            head += data
        return head

    def _read_source(self, n_bytes: int) -> bytes:
        try:
            data = self._source.read(n_bytes)
            # PyAV copies the returned bytes into n_bytes of memory without a check.
            if len(data) > n_bytes:
                raise RuntimeError("the source returned more bytes than it was asked for")
        except Exception as error:
            self.error = error
            raise
        return data


class _Candidate:
    """An audio track that may be the one to decode.

    Attributes:
        number: its place among the audio tracks, from 1.
        damage: what was wrong with one of its packets, if anything was.
        has_sound: True once it was not silent.
        n_samples: number of samples that are kept.
    """

    def __init__(self, number: int, stream: Any, audio: TrackAudio) -> None:
        self.number = number
        self.stream = stream
        self.audio = audio
        self.damage: Exception | None = None
        self.has_sound = False
        self.n_samples = 0
        self._kept: list[Samples] = []
        stream.codec_context.thread_count = 1  # more threads make audio no faster, and the process may start none

    def decode(self, packet: Any) -> Iterator[Samples]:
        """Yield the samples of a packet. One that cannot be decoded is skipped."""
        try:
            frames = packet.decode()
        except MALFORMED as error:
            self.damage = error
            return
        for frame in frames:
            yield from self.audio.convert(frame)

    def keep(self, packet: Any) -> None:
        """Decode a packet, and keep its samples for the case that this track is chosen."""
        try:
            for samples in self.decode(packet):
                self._kept.append(samples)
                self.n_samples += len(samples)
                self.has_sound |= bool(samples.size and np.abs(samples).max() > SOUND)
        except MALFORMED as error:
            self.damage = error  # the other tracks may be better

    def take_kept(self) -> list[Samples]:
        """Return and forget the samples that were kept."""
        kept, self._kept = self._kept, []
        return kept


class Decoding:
    """Decodes containers that follow each other, as one stream of samples. FFmpeg reads each from the input."""

    def __init__(
        self,
        source: Input,
        opened: Callable[[Contents], None],
        accepted: Accepted,
        track: int | None,
        channel_mode: ChannelMode,
    ) -> None:
        self._source = source
        self._opened = opened
        self._accepted = accepted
        self._track = track
        self._channel_mode = channel_mode
        self._audio: TrackAudio | None = None

    def decode(self) -> Iterator[Samples]:
        """Yield everything that can be decoded, then raise one of MALFORMED if something could not."""
        with self._source.open(self._accepted.options) as container:
            candidates = self._candidates(container)
            by_index = {each.stream.index: each for each in candidates}
            packets = container.demux([each.stream for each in candidates])
            chosen = self._choose(container, candidates, is_last_chance=len(candidates) == 1)
            damage: Exception | None = None
            while True:
                try:
                    packet = next(packets, None)
                except MALFORMED as error:
                    damage = error  # there is no next packet
                    continue
                if packet is None:
                    break
                candidate = by_index[packet.stream.index]  # a flush has no index of its own
                if chosen is None:
                    candidate.keep(packet)
                    chosen = self._choose(container, candidates)
                    yield from [] if chosen is None else chosen.take_kept()
                elif candidate is chosen:
                    yield from candidate.decode(packet)
            if chosen is None:
                chosen = self._choose(container, candidates, is_last_chance=True)
                assert chosen is not None  # it was the last chance
                yield from chosen.take_kept()
            if damage := damage or chosen.damage:
                raise damage

    def flush(self) -> Iterator[Samples]:
        """Yield what was held back, at the end of all."""
        if self._audio is not None:
            yield from self._audio.flush()

    def _candidates(self, container: Any) -> list[_Candidate]:
        """Return the tracks that may be decoded, the preferred ones first.

        Raises:
            _Refused: there are none.
        """
        n_tracks = len(container.streams.audio)
        if not n_tracks:
            raise _Refused("there is no audio in it")
        if self._track is not None and self._track > n_tracks:
            raise _Refused(f"there is no audio track {self._track}; the last one is {n_tracks}")
        numbers = range(1, min(n_tracks, MAX_TRACKS) + 1) if self._track is None else (self._track,)
        streams = [(number, container.streams.audio[number - 1]) for number in numbers]
        faults = [
            fault_of(stream, self._accepted.codecs, apart=self._channel_mode == "separate") for _, stream in streams
        ]
        usable = [each for each, fault in zip(streams, faults, strict=True) if not fault]
        if not usable:
            raise _Refused(faults[0])
        usable.sort(key=lambda each: not each[1].disposition & Disposition.default)
        if self._audio is not None:
            self._audio.timeline.restart_clock()
            return [_Candidate(*usable[0], self._audio)]
        origin_s = _origin_s(container)
        return [
            _Candidate(number, stream, TrackAudio(Timeline(origin_s), self._n_channels_apart(stream)))
            for number, stream in usable
        ]

    def _n_channels_apart(self, stream: Any) -> int | None:
        """Return the number of channels that are kept apart, or None if they are mixed."""
        return None if self._channel_mode == "mix" else n_channels_of(stream)

    def _choose(
        self, container: Any, candidates: list[_Candidate], *, is_last_chance: bool = False
    ) -> _Candidate | None:
        """Return the track to decode, or None while the choice is open."""
        first = candidates[0]
        is_time_over = is_last_chance or max(each.n_samples for each in candidates) >= PROBE_S * SAMPLE_RATE_HZ
        if not first.has_sound and not is_time_over:
            return None
        chosen = next((each for each in candidates if each.has_sound), first)
        if self._audio is None:
            duration_s = container.duration / av.time_base if container.duration else self._source.duration_s
            n_channels = self._n_channels_apart(chosen.stream) or 1
            self._opened(Contents(duration_s, chosen.number, len(container.streams.audio), n_channels))
        self._audio, self._track = chosen.audio, chosen.number
        return chosen


def _origin_s(container: Any) -> float | None:
    """Return the time stamp at which stream time begins, or None if it is that of the first audio."""
    start_s = None if container.start_time is None else container.start_time / av.time_base
    if container.format.name in CLOCKS_OF_BROADCASTS or (start_s is not None and start_s > MAX_START_S):
        return start_s
    return 0.0
