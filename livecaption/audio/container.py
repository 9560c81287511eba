"""A container that streams in -> samples at 16 kHz, as soon as they can be decoded.

WAV, WebM, Ogg, FLAC, MP3, MP4 and others, by FFmpeg's demuxers and decoders (PyAV). The only module that imports av,
and imported only where it is needed. Reads from a file object and blocks where that blocks. FFmpeg is native code that
parses bytes of strangers: it runs in a process of its own (`livecaption.decoding`).

How far audio lags behind its bytes: by a cluster, page or fragment as the sender cut them (WebM, Ogg, MP4), by seven
blocks (2 s at 16 kHz) for FLAC, whose frames are known only by their successors. WAV of 16-bit samples begins when
64 KiB are there, since FFmpeg looks for S/PDIF in them, and lags no more after that.
"""

from collections.abc import Callable, Iterator
from io import RawIOBase
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.plane import AudioPlane

from livecaption.audio.formats import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, Samples, make_finite
from livecaption.audio.resampling import Resampler
from livecaption.errors import InvalidAudio

CODECS = frozenset(
    [
        *("pcm_s8", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_mulaw", "pcm_alaw"),
        *("adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "opus", "libopus", "vorbis", "flac", "alac", "aac", "aac_latm"),
        *("mp2", "mp2float", "mp3", "mp3float", "ac3", "eac3", "amrnb", "amrwb", "libopencore_amrnb"),
        *("libopencore_amrwb", "wmav1", "wmav2", "wmapro"),
    ]
)
"""FFmpeg's names of the decoders that bytes of a client may reach: what recorders, phones, browsers and films use."""

OPTIONS = {
    # No playlists and no addresses: with those a stream makes FFmpeg open files and hosts of its choice.
    "format_whitelist": "wav,matroska,webm,ogg,flac,mp3,mov,mp4,aac,aiff,amr,asf,au,avi,caf,mpegts,w64",
    "protocol_whitelist": "",
    "codec_whitelist": ",".join(sorted(CODECS)),
    # Bytes and microseconds looked at before audio. The headers tell all we ask; with FFmpeg's defaults (5 MB, 5 s)
    # a WAV begins seconds later. Fewer bytes gain nothing. Rubbish is refused after 1 MB, whatever stands here.
    "probesize": "65536",
    "analyzeduration": "1",
}
READ_BYTES = 4096
"""Asked of the source at a time. More delays the audio where a read blocks until all is there; less costs calls."""

PIECE_S = 0.5
"""Audio in one piece. A frame of FLAC may hold 65,535 samples, 8 s at 8 kHz, in 14 bytes."""

MALFORMED = (av.FFmpegError, IndexError, ValueError)
"""What comes of malformed bytes: PyAV's own errors, no track of audio, and values that make no sense."""


def decode_container(
    source: BinaryIO | RawIOBase, opened: Callable[[float | None], None] = lambda duration_s: None
) -> Iterator[Samples]:
    """Give float32 [n_samples], mono, 16 kHz, -1..1, in pieces of at most `PIECE_S`.

    Channels are averaged; the first audio track is taken. A container that ends early gives what it held, and ends;
    where a packet was torn, with `truncated_audio`.

    Args:
        source: `read(n)` returns 1 to n bytes, b"" at the end, and may block; it need not be seekable. What it raises
            comes out of here as it is. It is not closed.
        opened: called once the container's head is read, with its length in seconds as the head tells it, or None.

    Raises:
        InvalidAudio: `invalid_container`: no format of ours, no audio in it, or nothing decodable; an MP4 with its
            index at the end is such when the source cannot seek. `truncated_audio`, not fatal, after everything else
            was given: some of it was damaged.
    """
    reader = _Reader(source)
    heard = False
    try:
        with av.open(reader, mode="r", options=OPTIONS, metadata_errors="replace", buffer_size=READ_BYTES) as container:
            opened(None if container.duration is None else container.duration / av.time_base)
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


def _decode(container: Any) -> Iterator[Samples]:
    """Everything decodable, then MALFORMED if something was not."""
    track = container.streams.audio[0]
    if track.codec_context is None or track.codec_context.codec.name not in CODECS:
        raise ValueError("a codec that is not decoded here")
    track.codec_context.thread_count = 1  # audio gains nothing by more, and the process may start none
    packets = container.demux(track)
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
            samples = _mono(frame)
            piece = int(rate_hz * PIECE_S)
            for start in range(0, len(samples), piece):
                yield resampler.push(samples[start : start + piece])
    if resampler is not None:
        yield resampler.flush()
    if damage is not None:
        raise damage


SAMPLE_FORMATS = {
    "u8": ("u1", 2**7, 2**7),
    "s16": ("<i2", 0, 2**15),
    "s32": ("<i4", 0, 2**31),
    "flt": ("<f4", 0, 1),
    "dbl": ("<f8", 0, 1),
}
"""FFmpeg's name of an interleaved sample -> its dtype, the value of silence, and of full scale."""


def _mono(frame: Any) -> Samples:
    """One decoded frame -> float32 [n_samples], channels averaged, at its own rate.

    PyAV's `frame.planes`, and with it `to_ndarray`, counts planes up to the first null pointer. FFmpeg ends the list of
    eight and more channels with none, so that memory behind it was read as audio, or the process crashed.
    """
    n_channels, n_samples = frame.layout.nb_channels, frame.samples
    if not 1 <= n_channels <= MAX_CHANNELS:
        raise ValueError("number of channels out of range")
    dtype, zero, full_scale = SAMPLE_FORMATS[frame.format.packed.name]
    if frame.format.is_planar:
        planes = [
            np.frombuffer(memoryview(AudioPlane(frame, channel)), dtype, n_samples) for channel in range(n_channels)
        ]
        values = np.stack(planes)
    else:
        interleaved = np.frombuffer(memoryview(AudioPlane(frame, 0)), dtype, n_samples * n_channels)
        values = interleaved.reshape(n_samples, n_channels).T.copy()
    if values.dtype.kind == "f":
        make_finite(values)
    samples: Samples = ((values.mean(axis=0, dtype=np.float64) - zero) / full_scale).astype(np.float32)
    return samples
