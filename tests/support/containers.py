"""Containers as real programs write them, with several tracks, late audio and holes, and some that attack a decoder."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from livecaption.audio.formats import Samples
from livecaption.evaluation.containers import flac_of_silence

__all__ = [
    "QUICKLY",
    "Track",
    "WriteOnly",
    "container",
    "dts_of_silence",
    "flac_of_silence",
    "loud_spans",
    "tone",
    "wav",
]

PACKET_SAMPLES = 960
FRAMES_PER_S = 25
FILM_SIZE = 32, 32
QUICKLY = {"aac": {"aac_coder": "fast"}}
"""Options of encoders. The usual search of AAC takes three times as long, for better sound."""


def tone(sample_rate_hz: int = 48_000, duration_s: float = 1.0, hz: float = 440.0) -> Samples:
    """Return float32 [n_samples] of half the full scale."""
    time_s = np.arange(round(sample_rate_hz * duration_s)) / sample_rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """An audio track.

    Attributes:
        channels: float32 [n_channels, n_samples], or [n_samples] for mono.
        begin_s: time stamp of its first sample.
        hole: (at, duration): time stamps jump by so many seconds there.
        default: whether it has the flag. None: the muxer decides.
    """

    channels: npt.NDArray[np.float32]
    codec: str = "pcm_s16le"
    sample_rate_hz: int = 48_000
    layout: str = "mono"
    begin_s: float = 0.0
    hole: tuple[float, float] | None = None
    default: bool | None = None

    @property
    def duration_s(self) -> float:
        """The duration of its samples."""
        return float(np.atleast_2d(self.channels).shape[1] / self.sample_rate_hz)

    def shift_s(self, at_s: float) -> float:
        """Return by how much time stamps are later than the samples up to here."""
        return self.begin_s + (self.hole[1] if self.hole is not None and at_s >= self.hole[0] else 0.0)


class WriteOnly(io.RawIOBase):
    """A file of a live encoder, which cannot go back and fill in lengths."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.written += bytes(data)
        return len(data)


def container(
    name: str,
    tracks: Sequence[Track],
    *,
    options: Mapping[str, str] | None = None,
    live: bool = False,
    picture: bool = False,
    subtitles: bool = False,
) -> bytes:
    """Write a container with these tracks.

    Args:
        name: FFmpeg's name of the format.
        tracks: the audio.
        options: the options of the muxer.
        live: the writer cannot go back, as to a pipe.
        picture: there is a film from time stamp 0 on, as long as the longest track.
        subtitles: there is one subtitle (Matroska only).
    """
    file = WriteOnly() if live else io.BytesIO()
    with av.open(file, "w", format=name, options=dict(options or {})) as output:
        film = _film(output) if picture else None
        streams = [_stream(output, track) for track in tracks]
        text: Any = output.add_stream("subrip") if subtitles else None
        if text is not None:
            text.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n\n[Events]\n"
        if film is not None:
            for number in range(round(FRAMES_PER_S * max(track.duration_s for track in tracks))):
                frame = av.VideoFrame(*FILM_SIZE, "yuv420p")
                frame.pts = number
                output.mux(film.encode(frame))
            output.mux(film.encode(None))
        packets = [packet for pair in zip(streams, tracks, strict=True) for packet in _packets(*pair)]
        if text is not None:
            packets.append(_subtitle(text))
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return bytes(file.written) if isinstance(file, WriteOnly) else file.getvalue()


def _film(output: Any) -> Any:
    stream = output.add_stream("mpeg2video", rate=FRAMES_PER_S)
    stream.width, stream.height, stream.pix_fmt = *FILM_SIZE, "yuv420p"
    return stream


def _stream(output: Any, track: Track) -> Any:
    stream = output.add_stream(
        track.codec, rate=track.sample_rate_hz, layout=track.layout, options=QUICKLY.get(track.codec, {})
    )
    if track.default is not None:
        stream.disposition = Disposition.default if track.default else Disposition(0)
    return stream


def _subtitle(stream: Any) -> av.Packet:
    packet = av.Packet(b"Hello.")
    packet.stream = stream
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = 0
    packet.duration = 1000
    return packet


def _packets(stream: Any, track: Track) -> list[Any]:
    """Encode a track, then move the time stamps of its packets."""
    interleaved = np.atleast_2d(track.channels).T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="flt", layout=track.layout)
    frame.sample_rate = track.sample_rate_hz
    frame.pts = 0
    fitting = av.AudioResampler(stream.format, track.layout, track.sample_rate_hz, PACKET_SAMPLES)
    if (frame_size := stream.codec_context.frame_size) > 1:
        fitting = av.AudioResampler(stream.format, track.layout, track.sample_rate_hz, frame_size)
    packets = []
    for part in [*fitting.resample(frame), *fitting.resample(None), None]:
        packets += stream.encode(part)
    for packet in packets:
        shift = round(track.shift_s(float(packet.pts * packet.time_base)) / packet.time_base)
        packet.pts += shift
        packet.dts += shift
    return packets


def wav(
    samples: bytes,
    *,
    sample_rate_hz: int = 16_000,
    n_channels: int = 1,
    stated_bytes: int | None = None,
    after: bytes = b"",
) -> bytes:
    """Write a WAV of 16-bit samples.

    Args:
        samples: its audio.
        sample_rate_hz: its rate.
        n_channels: its channels.
        stated_bytes: the length that it states. None: the right one.
        after: chunks that follow the audio.
    """
    n_bytes = len(samples) if stated_bytes is None else stated_bytes
    block_bytes = 2 * n_channels
    format_chunk = b"fmt " + np.array([16], "<u4").tobytes() + np.array([1, n_channels], "<u2").tobytes()
    format_chunk += np.array([sample_rate_hz, sample_rate_hz * block_bytes], "<u4").tobytes()
    format_chunk += np.array([block_bytes, 16], "<u2").tobytes()
    data = b"data" + np.array([n_bytes], "<u4").tobytes() + samples + after
    length = np.array([min(n_bytes + 36 + len(after), 0xFFFFFFFF)], "<u4").tobytes()
    return b"RIFF" + length + b"WAVE" + format_chunk + data


def dts_of_silence(n_frames: int) -> bytes:
    """Write DTS (ETSI TS 102 114, 5.3 to 5.5), which FFmpeg cannot encode: mono, 48 kHz, frames of 512 samples."""
    n_bytes = 512
    fields = [(0x7FFE8001, 32), (1, 1), (31, 5), (0, 1), (15, 7), (n_bytes - 1, 14), (0, 6), (13, 4), (15, 5), (0, 13)]
    fields += [(1, 1), (7, 4), (0, 2), (0, 3), (0, 2), (0, 4)]  # the end of the frame's header
    fields += [(0, 4), (0, 3), (0, 5), (1, 5), (0, 3), (0, 2), (6, 3), (6, 3)]  # one subframe, one channel, two bands
    fields += [(1, 1), *[(3, 2)] * 4, *[(7, 3)] * 5]  # codebooks
    fields += [(1, 2), (0, 3), (0, 1), (0, 1), (0, 5), (0, 5), (0xFFFF, 16)]  # no bits for the bands, and the end
    bits = "".join(f"{value:0{n_bits}b}" for value, n_bits in fields)
    return int(bits.ljust(8 * n_bytes, "0"), 2).to_bytes(n_bytes) * n_frames


def loud_spans(samples: Samples, sample_rate_hz: int = 16_000) -> list[tuple[float, float]]:
    """Return (begin, end) in seconds, to 10 ms, of all that is not silent; pauses below 50 ms do not count."""
    step = sample_rate_hz // 100
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    loud = np.flatnonzero(np.abs(blocks).max(axis=1, initial=0.0) > 0.05)
    if not loud.size:
        return []
    breaks = np.flatnonzero(np.diff(loud) > 5)
    begins, ends = loud[[0, *(breaks + 1)]], loud[[*breaks, -1]] + 1
    return [(float(begin) / 100, float(end) / 100) for begin, end in zip(begins, ends, strict=True)]
