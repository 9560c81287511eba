"""Decode a container, while it is being received, into samples at 16 kHz.

FFmpeg's demuxers and decoders (PyAV) read WAV, WebM, Ogg, FLAC, MP3, MP4 and others. No other module imports av, and
this one is imported only where it is needed. It reads from a file object and blocks where that blocks. FFmpeg is native
code that parses bytes of strangers, so it runs in a process of its own (`livecaption.decoding`).

Audio lags behind its bytes:

- WebM, Ogg, MP4: by one cluster, page or fragment, as the sender cut them.
- FLAC: by seven blocks (2 s at 16 kHz), because the end of a frame can be found only by its successors.
- WAV with 16-bit samples: by its first 64 KiB, because FFmpeg looks for S/PDIF in them; by nothing after that.
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
"""Decoders that bytes of a client may reach, by FFmpeg's names: those of recorders, phones, browsers and films."""

OPTIONS = {
    # No playlists and no addresses: a stream could use them to make FFmpeg open files and hosts of its choice.
    "format_whitelist": "wav,matroska,webm,ogg,flac,mp3,mov,mp4,aac,aiff,amr,asf,au,avi,caf,mpegts,w64",
    "protocol_whitelist": "",
    "codec_whitelist": ",".join(sorted(CODECS)),
    # Bytes and microseconds that FFmpeg probes before the first audio. The headers contain everything we need. FFmpeg's
    # defaults (5 MB, 5 s) delay the start of a WAV by seconds. Fewer bytes gain nothing. Data without audio is refused
    # after 1 MB, with any values.
    "probesize": "65536",
    "analyzeduration": "1",
}
READ_BYTES = 4096
"""Bytes for each read of the source. More delays the audio where a read waits for all of them. Less costs calls."""

PIECE_S = 0.5
"""Audio in one piece, at most, in s. A FLAC frame may hold 65,535 samples (8 s at 8 kHz) in 14 bytes."""

MALFORMED = (av.FFmpegError, IndexError, ValueError)
"""Exceptions that malformed bytes cause: PyAV's errors, a missing audio track, and values that make no sense."""


def decode_container(
    source: BinaryIO | RawIOBase, opened: Callable[[float | None], None] = lambda duration_s: None
) -> Iterator[Samples]:
    """Decode to float32 [n_samples], mono, 16 kHz, -1..1, in pieces of at most `PIECE_S`.

    Channels are averaged. The first audio track is decoded. A container that ends early yields its audio so far, and
    then ends without an error. If a packet was torn, `truncated_audio` follows.

    Args:
        source: `read(n)` returns 1 to n bytes, b"" at the end, and may block. It need not be seekable. Its exceptions
            are passed on unchanged. It is not closed.
        opened: called once the container's header is read, with its length in seconds, or None if the header has none.

    Raises:
        InvalidAudio: `invalid_container`: the format is not supported, there is no audio in it, or nothing can be
            decoded. An MP4 with its index at the end also counts if the source cannot seek. `truncated_audio`, not
            fatal, after all the audio: some of it was damaged.
    """
    reader = _Reader(source)
    has_audio = False
    try:
        with av.open(reader, mode="r", options=OPTIONS, metadata_errors="replace", buffer_size=READ_BYTES) as container:
            opened(None if container.duration is None else container.duration / av.time_base)
            for samples in _decode(container):
                if samples.size:
                    has_audio = True
                    yield samples
    except MALFORMED as error:
        if error is reader.error:
            raise
        if has_audio:
            raise InvalidAudio("part of the audio was damaged", code="truncated_audio", fatal=False) from error
        raise InvalidAudio(
            "not audio that can be read as a stream, such as WAV, WebM, Ogg, FLAC, MP3 or MP4", code="invalid_container"
        ) from error


class _Reader:
    """The file object that FFmpeg reads from. It wraps the source.

    Attributes:
        error: the exception that the source raised, if any. PyAV passes it on. A ValueError of the source must not be
            taken for one of the container.
    """

    def __init__(self, source: BinaryIO | RawIOBase) -> None:
        self.error: Exception | None = None
        self._source = source
        if source.seekable():
            self.seek, self.tell = source.seek, source.tell

    def read(self, n_bytes: int) -> bytes:
        try:
            data = self._source.read(n_bytes)
            # PyAV copies the returned bytes into n_bytes of memory without a check.
            if len(data) > n_bytes:
                raise RuntimeError("the source returned more bytes than it was asked for")
        except Exception as error:
            self.error = error
            raise
        return data


def _decode(container: Any) -> Iterator[Samples]:
    """Yield everything that can be decoded, then raise one of MALFORMED if something could not."""
    track = container.streams.audio[0]
    if track.codec_context is None or track.codec_context.codec.name not in CODECS:
        raise ValueError("unsupported codec")
    track.codec_context.thread_count = 1  # more threads make audio no faster, and the process may start none
    packets = container.demux(track)
    resampler: Resampler | None = None
    rate_hz = 0
    damage: Exception | None = None
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except MALFORMED as error:
            # A packet that cannot be decoded is skipped. After a failure to find a packet, there is no next one.
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
"""Sample formats by FFmpeg's name for the interleaved kind: dtype, value of silence, value of full scale."""


def _mono(frame: Any) -> Samples:
    """Convert one decoded frame to float32 [n_samples], channels averaged, at its own rate.

    PyAV's `frame.planes`, and with it `to_ndarray`, counts planes up to the first null pointer. FFmpeg ends the list of
    eight and more channels without one. PyAV then read the memory after it as audio, or crashed the process.
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
