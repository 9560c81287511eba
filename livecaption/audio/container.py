"""A container that streams in -> samples at 16 kHz, as soon as they can be decoded.

WAV, WebM, Ogg, FLAC, MP3, MP4 and others, by FFmpeg's demuxers and decoders (PyAV). The only module that imports av,
and imported only where it is needed. Reads from a file object and blocks where that blocks: it runs in a thread of its
own.

How far audio lags behind its bytes: by a cluster, page or fragment as the sender cut them (WebM, Ogg, MP4), by seven
blocks (2 s at 16 kHz) for FLAC, whose frames are known only by their successors. WAV of 16-bit samples begins when
64 KiB are there, since FFmpeg looks for S/PDIF in them, and lags no more after that.
"""

from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

from livecaption.audio.formats import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, Samples, make_finite
from livecaption.audio.resampling import Resampler
from livecaption.errors import InvalidAudio

OPTIONS = {
    # No playlists and no addresses: with those a stream makes FFmpeg open files and hosts of its choice.
    "format_whitelist": "wav,matroska,webm,ogg,flac,mp3,mov,mp4,aac,aiff,amr,asf,au,avi,caf,mpegts,w64",
    "protocol_whitelist": "",
    # Bytes and microseconds looked at before audio. The headers tell all we ask; with FFmpeg's defaults (5 MB, 5 s)
    # a WAV begins seconds later. Fewer bytes gain nothing. Rubbish is refused after 1 MB, whatever stands here.
    "probesize": "65536",
    "analyzeduration": "1",
}
READ_BYTES = 4096
"""Asked of the source at a time. More delays the audio where a read blocks until all is there; less costs calls."""

MALFORMED = (av.FFmpegError, IndexError, ValueError)
"""What comes of malformed bytes: PyAV's own errors, no track of audio, and values that make no sense."""


def decode_container(source: BinaryIO | RawIOBase) -> Iterator[Samples]:
    """float32 [n_samples], mono, 16 kHz, -1..1, piece by piece. Channels are averaged; the first audio track is taken.

    A container that ends early gives what it held, and ends; where a packet was torn, with `truncated_audio`.

    Args:
        source: `read(n)` returns 1 to n bytes, b"" at the end, and may block; it need not be seekable. What it raises
            comes out of here as it is. It is not closed.

    Raises:
        InvalidAudio: `invalid_container`: no format of ours, no audio in it, or nothing decodable; an MP4 with its
            index at the end is such when the source cannot seek. `truncated_audio`, not fatal, after everything else
            was given: some of it was damaged.
    """
    reader = _Reader(source)
    heard = False
    try:
        with _open(reader) as container:
            for samples in _decode(container):
                if samples.size:
                    heard = True
                    yield samples
    except MALFORMED as error:
        if error is reader.error:
            raise
        if heard:
            raise InvalidAudio("part of the audio was damaged", code="truncated_audio", fatal=False) from error
        raise InvalidAudio(
            "no audio that can be read as a stream, such as WAV, WebM, Ogg, FLAC, MP3 or MP4", code="invalid_container"
        ) from error


def container_duration_s(path: Path) -> float | None:
    """Length of a file's audio as its header tells it; None: it does not, or is no container of ours.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            with _open(_Reader(file)) as container:
                return None if container.duration is None else container.duration / av.time_base
        except MALFORMED:
            return None


class _Reader:
    """The file object that FFmpeg reads from: the source, guarded.

    Attributes:
        error: what the source raised, if it did; PyAV lets it through. A ValueError of its own is not the container's.
    """

    def __init__(self, source: BinaryIO | RawIOBase) -> None:
        self.error: Exception | None = None
        self._source = source
        if source.seekable():
            self.seek, self.tell = source.seek, source.tell

    def read(self, n_bytes: int) -> bytes:
        try:
            data = self._source.read(n_bytes)
            # PyAV copies whatever comes into n_bytes of memory, unchecked.
            if len(data) > n_bytes:
                raise RuntimeError("the source returned more bytes than it was asked for")
        except Exception as error:
            self.error = error
            raise
        return data


def _open(reader: _Reader) -> Any:
    return av.open(reader, mode="r", options=OPTIONS, metadata_errors="replace", buffer_size=READ_BYTES)


def _decode(container: Any) -> Iterator[Samples]:
    """Everything decodable, then MALFORMED if something was not."""
    packets = container.demux(container.streams.audio[0])
    resampler: Resampler | None = None
    rate_hz = 0
    damage: Exception | None = None
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except MALFORMED as error:
            # A packet that cannot be decoded is passed over; after a failure to find one, there is no next.
            damage = error
            continue
        if packet is None:
            break
        for frame in frames:
            if resampler is None or frame.sample_rate != rate_hz:
                if resampler is not None:
                    yield resampler.flush()
                rate_hz = frame.sample_rate
                if not MIN_SAMPLE_RATE_HZ <= rate_hz <= MAX_SAMPLE_RATE_HZ:
                    raise ValueError("sample rate out of range")
                resampler = Resampler(rate_hz)
            yield resampler.push(_mono(frame))
    if resampler is not None:
        yield resampler.flush()
    if damage is not None:
        raise damage


ZERO_AND_FULL_SCALE = {"u1": (2**7, 2**7), "i2": (0, 2**15), "i4": (0, 2**31), "f4": (0, 1), "f8": (0, 1)}
"""By numpy's name of a sample's type: all that PyAV gives."""


def _mono(frame: Any) -> Samples:
    """One decoded frame -> float32 [n_samples], channels averaged, at its own rate."""
    values = frame.to_ndarray()  # [channels, n], or [1, n * channels] interleaved
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind == "f":
        values = values.copy()
        make_finite(values)
    zero, full_scale = ZERO_AND_FULL_SCALE[values.dtype.str[1:]]
    samples: Samples = ((values.mean(axis=0, dtype=np.float64) - zero) / full_scale).astype(np.float32)
    return samples
